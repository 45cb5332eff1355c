// The weekly partitions of the log: made ahead of time, so that no send ever waits for one, and dropped whole when all
// their rows are past the retention time.
import { sql } from 'kysely'
import type { Database } from '../postgres.ts'

/** Ahead of the current week: as long as a server may be down and still find a partition when it starts. */
export const partitionsAhead = 4
const weekMs = 7 * 24 * 3600 * 1000
/** 1970-01-05 was a Monday. */
const mondayMs = 4 * 24 * 3600 * 1000
/** One process at a time, fleet-wide, in PostgreSQL's advisory locks: "carillon", in ASCII. */
const partitionsLock = 0x636172696cn

/** Makes what is missing of this week's partition and the next `partitionsAhead`. Safe to call from many at once. */
export async function createPartitions(database: Database, now = Date.now()): Promise<void> {
  await database.kysely.transaction().execute(async (tx) => {
    await sql`set local lock_timeout = '10s'`.execute(tx)
    await sql`select pg_advisory_xact_lock(${partitionsLock})`.execute(tx)
    const existing = new Set(await partitionStarts(tx))
    for (let week = 0; week <= partitionsAhead; week++) {
      const start = startOfWeek(now) + week * weekMs
      if (existing.has(start)) continue
      await sql`create table ${sql.table(partitionName(start))} partition of notifications
        for values from (${sql.lit(isoDate(start))}) to (${sql.lit(isoDate(start + weekMs))})`.execute(tx)
    }
  })
}

/** Drops the partitions that end before `before`; returns how many. Readers hide those rows already. */
export async function dropPartitions(database: Database, before: number): Promise<number> {
  return database.kysely.transaction().execute(async (tx) => {
    await sql`set local lock_timeout = '2s'`.execute(tx)
    await sql`select pg_advisory_xact_lock(${partitionsLock})`.execute(tx)
    const past = (await partitionStarts(tx)).filter((start) => start + weekMs <= before)
    for (const start of past) await sql`drop table ${sql.table(partitionName(start))}`.execute(tx)
    return past.length
  })
}

async function partitionStarts(tx: Database['kysely']): Promise<number[]> {
  const { rows } = await sql<{ name: string }>`select c.relname as name from pg_inherits i
    join pg_class c on c.oid = i.inhrelid where i.inhparent = 'notifications'::regclass`.execute(tx)
  return rows.map(({ name }) => Date.parse(name.replace(/^notifications_(\d{4})(\d\d)(\d\d)$/, '$1-$2-$3T00:00:00Z')))
}

const startOfWeek = (at: number) => at - ((at - mondayMs) % weekMs)
const isoDate = (at: number) => `${new Date(at).toISOString().slice(0, 10)}T00:00:00Z`
const partitionName = (start: number) => `notifications_${isoDate(start).slice(0, 10).replaceAll('-', '')}`
