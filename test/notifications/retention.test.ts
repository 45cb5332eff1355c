import { sql } from 'kysely'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createPartitions, partitionsAhead } from '../../src/notifications/partitions.ts'
import { createRetention } from '../../src/notifications/retention.ts'
import { createSweep } from '../../src/notifications/sweep.ts'
import { dayMs, fill, makeOlder, readPage } from '../support/log.ts'
import { createSlice, retentionMs, type Slice } from '../support/slice.ts'

let slice: Slice
beforeEach(async () => {
  slice = await createSlice()
})
afterEach(() => slice[Symbol.asyncDispose]())

async function partitions(): Promise<string[]> {
  const { rows } = await sql<{ name: string }>`select inhrelid::regclass::text as name from pg_inherits
    where inhparent = 'notifications'::regclass order by 1`.execute(slice.database.kysely)
  return rows.map(({ name }) => name)
}

const retentionOf = ({ database }: Slice) => createRetention({ database, retentionMs })

test('makes what is missing of the weeks ahead, once, with the indexes of the log', async () => {
  const expected = await partitions()
  expect(expected.length).toBe(partitionsAhead + 1)
  await sql`drop table ${sql.table(expected[2] ?? '')}`.execute(slice.database.kysely)
  const runs = await Promise.all([retentionOf(slice).run(), retentionOf(slice).run()])
  expect(runs.reduce((sum, { created }) => sum + created, 0)).toBe(1)
  expect(await partitions()).toEqual(expected)
  const { rows } = await sql<{ n: string }>`select count(*) as n from pg_index i join pg_class c on c.oid = i.indrelid
    where c.relname in ('notifications', ${expected[2]}) group by c.oid`.execute(slice.database.kysely)
  expect(rows[0]).toEqual(rows[1])
})

test('makes them while the log is being read and written', async () => {
  const [, second] = await partitions()
  await slice.database.kysely.transaction().execute(async (tx) => {
    await sql`drop table ${sql.table(second ?? '')}`.execute(slice.database.kysely)
    await sql`lock table notifications in row exclusive mode`.execute(tx)
    await sql`lock table notifications in access share mode`.execute(tx)
    expect(await retentionOf(slice).run()).toEqual({ created: 1, dropped: 0 })
  })
})

test('drops what is past the retention time as a whole, and only after it came off the counters', async () => {
  await fill(slice, 'alice', 2)
  await makeOlder(slice.database, 'alice', 1, retentionMs + 21 * dayMs)
  const before = await partitions()
  expect(await retentionOf(slice).run()).toEqual({ created: 0, dropped: 0 })
  await createSweep({ ...slice, retentionMs }).run()
  const { dropped } = await retentionOf(slice).run()
  expect(dropped).toBeGreaterThan(3)
  expect(await partitions()).toEqual(before.slice(dropped))
  const { notifications } = await readPage(slice.log, 'alice', { after: null, undeliveredUpTo: null, checkNext: false })
  expect(notifications.map(({ seq }) => seq)).toEqual([2])
  // The week that the retention time ends in is still there.
  await createPartitions(slice.database, Date.now() - retentionMs)
  expect(await partitions()).toEqual(before.slice(dropped))
})

test('leaves one that is in use for the next run, and keeps nobody waiting', async () => {
  await createPartitions(slice.database, Date.now() - 70 * dayMs)
  await createSweep({ ...slice, retentionMs }).run()
  await slice.database.kysely.transaction().execute(async (tx) => {
    await sql`select count(*) from notifications`.execute(tx)
    const retention = retentionOf(slice).run()
    await fill(slice, 'alice', 1)
    expect(await retention).toEqual({ created: 0, dropped: 0 })
  })
  expect((await retentionOf(slice).run()).dropped).toBeGreaterThan(3)
})
