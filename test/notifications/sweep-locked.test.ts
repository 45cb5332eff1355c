import pg from 'pg'
import { expect, test } from 'vitest'
import { createSweep } from '../../src/notifications/sweep.ts'
import { createSlice, retentionMs } from '../support/slice.ts'

test('an inbox that somebody holds locked keeps no other from being swept', { timeout: 30_000 }, async () => {
  await using slice = await createSlice()
  const expiresAt = Date.now() + 300
  for (const userId of ['held', 'other'])
    await slice.send('s', { userId, category: 'c', title: 't', priority: 'NORMAL', expiresAt })
  const holder = new pg.Client({ connectionString: slice.url })
  await holder.connect()
  await holder.query("begin; select from inboxes where user_id = 'held' for update")
  await expect.poll(() => Date.now()).toBeGreaterThan(expiresAt + 50)
  const { database, bus } = slice
  const failed = await createSweep({ database, bus, retentionMs })
    .run()
    .then(
      () => 'swept',
      (error: Error) => error.message,
    )
  const [row] = await database.query<{ undelivered: number }>(
    'x',
    "select undelivered from inboxes where user_id = 'other'",
    [],
  )
  await holder.query('rollback')
  await holder.end()
  expect({ failed, row }).toMatchObject({ row: { undelivered: 0 } })
})
