import { expect, test } from 'vitest'
import type { Mark } from '../../src/notifications/marks.ts'
import { createSweep } from '../../src/notifications/sweep.ts'
import { miscounted } from '../support/log.ts'
import { createSlice, input, retentionMs } from '../support/slice.ts'

test('marks, sends, retractions and sweeps of the same rows at the same time all succeed, and the counters stay exact', {
  timeout: 60_000,
}, async () => {
  await using slice = await createSlice()
  const { bus, database } = slice
  const sent = await slice.sendMany(
    'service',
    Array.from({ length: 60 }, () => input()),
  )
  const ids = sent.map(({ payload }) => payload?.notification.id ?? '')
  const sweep = createSweep({ database, bus, retentionMs })
  const marks: Mark[] = ['delivered', 'seen', 'read', 'unread', 'archived', 'unarchived']
  const until = Date.now() + 3_000
  const repeat = async (work: (round: number) => Promise<unknown>) => {
    for (let round = 0; Date.now() < until; round++) await work(round)
  }
  await Promise.all([
    ...marks.map((mark, i) =>
      repeat((round) => {
        const start = (round * 7 + i * 10) % ids.length
        return slice.acknowledge('alice', mark, { ids: ids.slice(start, start + 20) })
      }),
    ),
    repeat(() => slice.send('service', input({ expiresAt: Date.now() + 20 }))),
    repeat(() => sweep.run()),
  ])
  await expect.poll(() => sweep.run().then(() => miscounted(database))).toEqual([])
})
