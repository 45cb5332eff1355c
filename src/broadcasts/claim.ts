// Who works on what: a worker claims a range for one batch, and holds it by a lease that it renews. Whoever dies loses it
// within seconds to whoever asks next; whoever was only frozen finds its lease gone when it wakes, and appends nothing.
import { randomUUID } from 'node:crypto'
import type { Database } from '../postgres.ts'
import type { Segment } from '../users/segment.ts'
import type { Source } from './broadcast.ts'
import type { Range } from './plan.ts'

/** How long a range stays with a worker that says nothing: what a kill delays a broadcast by, at most. */
export const leaseMs = 5_000
/** How often a worker says that it is there. */
export const leaseRenewalMs = 1_000

/** One batch's worth of work. */
export interface Claim extends Range {
  broadcastId: string
  nr: number
  lease: string
  /** Batches that failed one after the other before this one. */
  attempts: number
  segment: Segment
  source: Source
  /** JSON object as text. */
  variables: string | null
  priority: number
  category: string
  data: string | null
  /** Milliseconds since 1970. */
  expiresAt: number | null
  /** It is too late for whoever is left. */
  isExpired: boolean
}

/**
 * The most urgent range that nobody works on: by priority, and the oldest broadcast first. Undefined where there is none.
 * The first claim of a broadcast makes it RUNNING.
 */
export async function claimRange(database: Database): Promise<Claim | undefined> {
  const [row] = await database.query<ClaimRow>('claim-range', claimStatement, [randomUUID()])
  return row && { ...row, segment: JSON.parse(row.segment), source: JSON.parse(row.source) }
}

/** False where it is somebody else's now, or done. */
export async function renewLease(database: Database, { broadcastId, nr, lease }: Claim): Promise<boolean> {
  const rows = await database.query('renew-lease', renewStatement, [broadcastId, nr, lease])
  return rows.length > 0
}

/**
 * Gives it back; nobody claims it for `delayMs`. `isFailed` counts the batch as failed. Returns how many have failed one
 * after the other, and 0 where it is no longer this worker's.
 */
export async function releaseRange(
  database: Database,
  claim: Claim,
  delayMs: number,
  isFailed: boolean,
): Promise<number> {
  const { broadcastId, nr, lease } = claim
  const values = [broadcastId, nr, lease, delayMs, isFailed ? 1 : 0]
  const [row] = await database.query<{ attempts: number }>('release-range', releaseStatement, values)
  return row?.attempts ?? 0
}

type ClaimRow = Omit<Claim, 'segment' | 'source'> & { segment: string; source: string }

const lease = `clock_timestamp() + interval '${leaseMs} milliseconds'`

const claimStatement = `
with candidate as materialized (
  select r.broadcast_id, r.nr from broadcasts b join broadcast_ranges r on r.broadcast_id = b.id
  where b.finished_at is null and not r.is_done and (r.leased_until is null or r.leased_until <= clock_timestamp())
  order by b.priority desc, b.created_at, b.id, r.nr limit 1
  for update of r skip locked),
claimed as (
  update broadcast_ranges r set lease = $1::uuid, leased_until = ${lease}
  from candidate c where r.broadcast_id = c.broadcast_id and r.nr = c.nr
  returning r.*),
started as (
  update broadcasts set status = 'RUNNING', started_at = clock_timestamp()
  where id = (select broadcast_id from claimed) and status = 'QUEUED')
select r.broadcast_id as "broadcastId", r.nr, r.lease, r.attempts, r.cursor, r.last_id as "lastId", b.segment, b.source,
  b.variables, b.priority, b.category, b.data, (extract(epoch from b.expires_at) * 1000)::float8 as "expiresAt",
  coalesce(b.expires_at <= now(), false) as "isExpired"
from claimed r join broadcasts b on b.id = r.broadcast_id`

const renewStatement = `
update broadcast_ranges set leased_until = ${lease}
where broadcast_id = $1::uuid and nr = $2 and lease = $3::uuid and not is_done returning nr`

const releaseStatement = `
update broadcast_ranges
set lease = null, leased_until = clock_timestamp() + $4::float8 * interval '1 millisecond', attempts = attempts + $5::int
where broadcast_id = $1::uuid and nr = $2 and lease = $3::uuid and not is_done returning attempts`
