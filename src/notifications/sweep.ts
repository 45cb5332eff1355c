// The sweeper: turns into writes what time alone changes. Notifications that expired or passed the retention time come
// off the counters, and idempotency keys and full buckets of senders are forgotten. It runs in every instance; the row `carillon_state`, locked for
// one statement, lets one of them at a time through and holds how far retention has come. The statement: change.ts.
import type { Addressed, Bus } from '../bus/bus.ts'
import type { Database } from '../postgres.ts'
import { withRetry } from '../retry.ts'
import { idempotencyHours } from './append.ts'
import { changeStatement, lockInboxes, lockRows, takesAll, updateInboxes } from './change.ts'
import { type Doorbell, type DoorbellNews, doorbellRowsMax } from './doorbell.ts'
import { oldestPartition } from './partitions.ts'
import { type InboxRow, instant, type Nullable, toInbox } from './rows.ts'

/** How often to run: the contract has counters follow within 10 s. */
export const sweepIntervalMs = 5_000
/** Rows of one statement: it holds their inboxes for some tens of milliseconds. */
const batchRows = 500
/** Statements of each kind in one run; what is left waits for the next. */
const roundsMax = 100
/** How far retention stays behind, so that a clock set back by less brings nothing back that was subtracted. */
const clockStepMs = 1_000
/** How much of the log retention looks at in one statement: what it finds in it has to be sorted. Adapts in between. */
const spanMinMs = 1_000
const spanMaxMs = 24 * 3600 * 1000

export interface Sweep {
  /** Rejects where something could not be swept; everything else has been, and the next run tries again. */
  run(): Promise<void>
}

export interface SweepOptions {
  database: Database
  bus: Bus<Doorbell>
  retentionMs: number
}

export function createSweep({ database, bus, retentionMs }: SweepOptions): Sweep {
  let spanMs = 10 * spanMinMs

  async function sweepExpired(): Promise<boolean> {
    const rows = await withRetry(() => database.query<ExpiredRow>('sweep-expired', expiredStatement, [retentionMs]))
    await ring(rows, ({ ids }) =>
      ids && ids.length <= doorbellRowsMax ? { kind: 'removed', ids, bumps: 1 } : { kind: 'changed', bumps: 1 },
    )
    const [first] = rows
    return first?.candidates === batchRows && first.count > 0
  }

  async function sweepRetention(): Promise<boolean> {
    const values = [retentionMs, spanMs, await oldestPartition(database)]
    const rows = await withRetry(() => database.query<RetainedRow>('sweep-retention', retentionStatement, values))
    await ring(rows, () => ({ kind: 'changed', bumps: 1 }))
    const [first] = rows
    if (!first) return false
    spanMs = first.isFull ? Math.max(spanMs / 2, spanMinMs) : Math.min(spanMs * 2, spanMaxMs)
    return first.isBehind
  }

  async function sweepKeys(): Promise<boolean> {
    const [row] = await withRetry(() => database.query<{ deleted: number }>('sweep-keys', keysStatement, []))
    return row?.deleted === batchRows
  }

  async function sweepRates(): Promise<boolean> {
    const [row] = await withRetry(() => database.query<{ deleted: number }>('sweep-rates', ratesStatement, []))
    return row?.deleted === batchRows
  }

  function ring<Row extends SweptRow>(rows: Row[], news: (row: Row) => DoorbellNews): Promise<void> {
    const batch: Addressed<Doorbell>[] = rows.flatMap((row) =>
      row.user_id === null
        ? []
        : { userId: row.user_id, message: { inbox: toInbox(row.user_id, row.epoch, row), news: news(row) } },
    )
    return batch.length > 0 ? bus.publish(batch) : Promise.resolve()
  }

  return {
    async run() {
      const failures: unknown[] = []
      for (const sweep of [sweepExpired, sweepRetention, sweepKeys, sweepRates]) {
        try {
          for (let round = 1; (await sweep()) && round < roundsMax; ) round++
        } catch (error) {
          failures.push(error)
        }
      }
      if (failures.length > 0)
        throw failures.length === 1 ? failures[0] : new AggregateError(failures, 'sweeping failed')
    },
  }
}

/** An inbox that changed, or none: then only the other columns say something. No row at all: another one is at it. */
interface SweptRow extends Nullable<InboxRow> {
  user_id: string | null
  epoch: string
}

interface ExpiredRow extends SweptRow {
  candidates: number
  count: number
  ids: string[] | null
}

interface RetainedRow extends SweptRow {
  isFull: boolean
  isBehind: boolean
}

// Locked, the row shows its newest version, whatever the statement's snapshot has: no two subtract the same. The limit
// tells the planner that there is one.
const state = 'state as materialized (select epoch, retained_from from carillon_state limit 1 for update skip locked)'

const expiredStatement = changeStatement({
  first: state,
  candidate: `select n.user_id, n.created_at, n.seq from notifications n
    where (select true from state) and n.expires_at <= now() and not n.swept
    order by n.expires_at limit ${batchRows}`,
  // What is left out is due still, and comes with the next run.
  skipLocked: true,
  open: 'not n.swept',
  set: 'swept = true',
  takes: takesAll,
  shown: 'n.retracted_at is null and n.created_at > (select retained_from from state)',
  result: `select s.epoch, (select count(*)::int from candidate) as candidates,
    (select count(*)::int from changed) as count, u.*, c.ids
    from state s left join updated u on true
    left join (select "userId", array_agg(id order by seq desc) as ids from changed where shown group by "userId") c
      on c."userId" = u.user_id`,
})

// $2 the span in milliseconds, $3 where the oldest partition begins: there is nothing before it. The boundary is rounded
// as the columns are, before it is compared, or storing it would step over the rows of one millisecond. Rows that have all the
// states are looked at too: a mark that is under way may yet clear one.
const retentionStatement = `with ${state},
    span as materialized (
      select retained_from as since, target, greatest(retained_from, least(target, reach))::timestamptz(3) as until from (
        select retained_from, now() - ($1::float8 + ${clockStepMs}) * interval '1 millisecond' as target,
          greatest(retained_from, ${instant('$3')}) + $2::float8 * interval '1 millisecond' as reach from state) s),
    candidate as materialized (
      select n.user_id, n.created_at, n.seq from notifications n
      where n.created_at > (select since from span) and n.created_at <= (select until from span)
        and n.archived_at is null and n.retracted_at is null and not n.swept
      order by n.created_at fetch first ${batchRows} rows with ties),
    step as materialized (
      select is_full, target, case when is_full then (select max(created_at) from candidate) else until end as until
      from (select *, (select count(*) from candidate) >= ${batchRows} as is_full from span) s),
    ${lockInboxes('b.user_id in (select user_id from candidate)')},
    ${lockRows(
      'n.archived_at is null and n.retracted_at is null and not n.swept',
      takesAll,
      'n.delivered_at is null or n.seen_at is null or n.read_at is null',
    )},
    ${updateInboxes()},
    moved as (update carillon_state s set retained_from = step.until from step where step.until > s.retained_from)
    select s.epoch, step.is_full as "isFull", step.until < step.target as "isBehind", u.*
    from state s cross join step left join updated u on true`

// Skipping those that a send takes over at this moment.
const keysStatement = `with old as materialized (
      select sender, operation, key from idempotency_keys where at < now() - interval '${idempotencyHours} hours'
      order by at limit ${batchRows} for update skip locked),
    deleted as (
      delete from idempotency_keys k using old o
      where k.sender = o.sender and k.operation = o.operation and k.key = o.key returning 1)
    select count(*)::int as deleted from deleted`

// A bucket that is full again is as good as none. Skipping those that somebody takes tokens of at this moment.
const ratesStatement = `with full_again as materialized (
      select sender from send_rates where full_at <= now() limit ${batchRows} for update skip locked),
    deleted as (delete from send_rates r using full_again f where r.sender = f.sender returning 1)
    select count(*)::int as deleted from deleted`
