// An instance whose own clock is wrong, and a database whose clock is right.
import { sql } from 'kysely'
import { afterEach, expect, test, vi } from 'vitest'
import { createPartitions, partitionsAhead } from '../../src/notifications/partitions.ts'
import { createSlice, input, take } from '../support/slice.ts'

const minuteMs = 60_000
const real = Date.now

afterEach(() => vi.restoreAllMocks())

/** From now on every clock of this process is that much ahead. */
function setClocks(aheadMs: number) {
  vi.spyOn(Date, 'now').mockImplementation(() => real() + aheadMs)
  return { processTime: () => real() + aheadMs }
}

test.each([60, -60])(
  'delivers what expires in 30 minutes, live and replayed, with a clock %i minutes off',
  async (off) => {
    await using slice = await createSlice(setClocks(off * minuteMs))
    const expiresAt = real() + 30 * minuteMs
    const before = await slice.send('service', input({ expiresAt }))
    const stream = await slice.subscribe('alice', { kind: 'notifications', after: null, resumeAfter: null })
    const during = await slice.send('service', input({ expiresAt }))
    expect(await take(stream, 2)).toMatchObject([
      { replayed: true, notification: { id: before.notification.id } },
      { replayed: false, notification: { id: during.notification.id } },
    ])
    await stream.return()
  },
)

test.each([60, -60])('refuses what has expired by the database, with a clock %i minutes off', async (off) => {
  await using slice = await createSlice(setClocks(off * minuteMs))
  await expect(slice.send('service', input({ expiresAt: real() - minuteMs }))).rejects.toMatchObject({
    code: 'BAD_USER_INPUT',
  })
})

test.each([60, -60])('hands out nothing that has expired meanwhile, with a clock %i minutes off', async (off) => {
  await using slice = await createSlice(setClocks(off * minuteMs))
  const stream = await slice.subscribe('alice', { kind: 'notifications', after: null, resumeAfter: null })
  const expiresAt = real() + 500
  await slice.send('service', input({ title: 'short', expiresAt }))
  const lasting = await slice.send('service', input({ title: 'lasting' }))
  await vi.waitUntil(() => real() > expiresAt, 2_000)
  // Both have waited until now for their reader.
  expect(await take(stream, 1)).toMatchObject([{ notification: { id: lasting.notification.id } }])
  await stream.return()
})

test('makes the partitions that the database will need, whatever the clock of the process says', async () => {
  await using slice = await createSlice(setClocks(-100 * 24 * 60 * minuteMs))
  const { database } = slice
  expect(await createPartitions(database)).toBe(0)
  const names = `select inhrelid::regclass::text as name from pg_inherits where inhparent = 'notifications'::regclass`
  for (const { name } of await database.query<{ name: string }>('names', names, [])) {
    await sql`drop table ${sql.table(name)}`.execute(database.kysely)
  }
  expect(await createPartitions(database)).toBe(partitionsAhead + 1)
  expect(await slice.send('service', input())).toMatchObject({ duplicate: false })
})
