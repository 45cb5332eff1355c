// How a broadcast is cut into ranges of users that several workers go through side by side, and about how many there are.
import { type RawBuilder, sql } from 'kysely'
import type { Database } from '../postgres.ts'
import { planned, tookTooLong } from '../users/plans.ts'
import { compileSegment, type Segment } from '../users/segment.ts'

export interface Plan {
  /** Users in the segment: counted where that is quick, and otherwise as many as PostgreSQL expects. */
  estimate: number
  ranges: Range[]
}

/** Users behind `cursor` up to `lastId`; to the end where that is null. */
export interface Range {
  cursor: string
  lastId: string | null
}

/** As many batches of one broadcast as may be under way in the whole fleet. */
const rangesMax = 16
/** Fewer are one range: they are through in a moment. */
const rangeUsersMin = 5_000
/** Of the directory's table, to find the bounds by: some tens of thousands of users. */
const samplePages = 1_000
/** A caller waits for it, and a rough number is as good. */
const countMsMax = 500

/** Fails with BAD_USER_INPUT for a segment that is none. */
export async function planBroadcast({ kysely }: Database, segment: Segment): Promise<Plan> {
  const matching = compileSegment(segment)
  const estimate = (await count(kysely, matching)) ?? (await guess(kysely, matching))
  const wanted = Math.min(rangesMax, Math.floor(estimate / rangeUsersMin))
  const bounds = wanted > 1 ? await sampleBounds(kysely, matching, wanted) : []
  const cursors = ['', ...bounds]
  return { estimate, ranges: cursors.map((cursor, index) => ({ cursor, lastId: bounds[index] ?? null })) }
}

type Condition = RawBuilder<boolean>
type Kysely = Database['kysely']

async function count(kysely: Kysely, matching: Condition): Promise<number | undefined> {
  try {
    return await planned(kysely, async (transaction) => {
      await sql.raw(`set local statement_timeout = ${countMsMax}`).execute(transaction)
      const { rows } = await sql<{ count: number }>`
        select count(*)::int as count from users u where ${matching}`.execute(transaction)
      return rows[0]?.count ?? 0
    })
  } catch (error) {
    if (tookTooLong(error)) return undefined
    throw error
  }
}

async function guess(kysely: Kysely, matching: Condition): Promise<number> {
  return planned(kysely, async (transaction) => {
    const { rows } = await sql<{ 'QUERY PLAN': [{ Plan: { 'Plan Rows': number } }] }>`
      explain (format json) select from users u where ${matching}`.execute(transaction)
    return Math.round(rows[0]?.['QUERY PLAN'][0].Plan['Plan Rows'] ?? 0)
  })
}

/** Ids that cut the segment into about equal parts; fewer than asked for where the sample is small. */
async function sampleBounds(kysely: Kysely, matching: Condition, ranges: number): Promise<string[]> {
  const fractions = Array.from({ length: ranges - 1 }, (_, index) => (index + 1) / ranges)
  const pages = sql`greatest(1, pg_relation_size('users') / current_setting('block_size')::int)`
  return planned(kysely, async (transaction) => {
    const { rows } = await sql<{ bounds: string[] | null }>`
      select percentile_disc(${fractions}::float8[]) within group (order by u.id) as bounds
      from users u tablesample system ((select least(100, 100.0 * ${sql.lit(samplePages)} / ${pages})))
      where ${matching}`.execute(transaction)
    return [...new Set(rows[0]?.bounds ?? [])]
  })
}
