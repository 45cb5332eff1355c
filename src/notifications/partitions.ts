// The weekly partitions of the log: made ahead of time, so that no send ever waits for one, and dropped whole when all
// their rows are past the retention time.
import { sql } from 'kysely'
import { type Database, sqlState } from '../postgres.ts'
import { milliseconds } from './rows.ts'

/** Ahead of the current week: as long as a server may be down and still find a partition when it starts. */
export const partitionsAhead = 4
const weekMs = 7 * 24 * 3600 * 1000
/** 1970-01-05 was a Monday. */
const mondayMs = 4 * 24 * 3600 * 1000
/** One process at a time, fleet-wide, in PostgreSQL's advisory locks: "carillon", in ASCII. */
const partitionsLock = 0x636172696cn

/**
 * Makes what is missing of this week's partition and the next `partitionsAhead`; returns how many. Safe to call from many
 * at once. By the database's clock, which stamps the rows, or as of `at`.
 */
export async function createPartitions(database: Database, at?: number): Promise<number> {
  return database.kysely.transaction().execute(async (tx) => {
    await sql`set local lock_timeout = '10s'`.execute(tx)
    await sql`select pg_advisory_xact_lock(${partitionsLock})`.execute(tx)
    const existing = new Set(await partitionStarts(tx))
    const thisWeek = startOfWeek(at ?? (await databaseTime(tx)))
    const wanted = Array.from({ length: partitionsAhead + 1 }, (_, week) => thisWeek + week * weekMs)
    const missing = wanted.filter((start) => !existing.has(start))
    for (const start of missing) {
      // Made apart and attached: that locks out neither readers nor writers, as "partition of" would.
      const table = sql.table(partitionName(start))
      await sql`create table ${table} (like notifications including defaults including constraints)`.execute(tx)
      await sql`alter table notifications attach partition ${table}
        for values from (${sql.lit(isoDate(start))}) to (${sql.lit(isoDate(start + weekMs))})`.execute(tx)
    }
    return missing.length
  })
}

/**
 * Drops the partitions that end at or before `before`, oldest first, each in a transaction of its own; returns how many.
 * Readers hide those rows already. Stops at one that somebody is reading: the next run tries again.
 */
export async function dropPartitions(database: Database, before: number): Promise<number> {
  let dropped = 0
  try {
    while (await dropOldest(database, before)) dropped++
  } catch (error) {
    if (sqlState(error) !== '55P03') throw error
  }
  return dropped
}

/**
 * Under a lock on the whole log, behind which everybody waits: so it gives up as soon as any writer would, and it is a
 * statement by itself, since a transaction would hold the lock until its client had answered. A long backup delays
 * dropping, and no send.
 */
async function dropOldest(database: Database, before: number): Promise<boolean> {
  const oldest = await oldestPartition(database)
  if (oldest === null || oldest + weekMs > before) return false
  await sql`drop table if exists ${sql.table(partitionName(oldest))}`.execute(database.kysely)
  return true
}

/** Where the oldest partition begins, in milliseconds; null where there is none. */
export async function oldestPartition(database: Database): Promise<number | null> {
  const starts = await partitionStarts(database.kysely)
  return starts.length > 0 ? Math.min(...starts) : null
}

async function partitionStarts(tx: Database['kysely']): Promise<number[]> {
  const { rows } = await sql<{ name: string }>`select c.relname as name from pg_inherits i
    join pg_class c on c.oid = i.inhrelid where i.inhparent = 'notifications'::regclass`.execute(tx)
  return rows.map(({ name }) => Date.parse(name.replace(/^notifications_(\d{4})(\d\d)(\d\d)$/, '$1-$2-$3T00:00:00Z')))
}

async function databaseTime(tx: Database['kysely']): Promise<number> {
  const now = sql.raw<number>(milliseconds('clock_timestamp()')).as('now')
  return (await tx.selectNoFrom(now).executeTakeFirstOrThrow()).now
}

const startOfWeek = (at: number) => at - ((at - mondayMs) % weekMs)
const isoDate = (at: number) => `${new Date(at).toISOString().slice(0, 10)}T00:00:00Z`
const partitionName = (start: number) => `notifications_${isoDate(start).slice(0, 10).replaceAll('-', '')}`
