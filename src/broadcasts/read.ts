// Reads broadcasts: what they are, and how far they have come.
import { CarillonError } from '../errors.ts'
import { type Priority, priorities } from '../notifications/notification.ts'
import { milliseconds } from '../notifications/rows.ts'
import { isUuid } from '../notifications/uuid.ts'
import { type Page, pageSizeOf, toPage } from '../page.ts'
import type { Database } from '../postgres.ts'
import { withRetry } from '../retry.ts'
import type { Broadcast, BroadcastStatus } from './broadcast.ts'

export interface PageArguments {
  first?: number | null | undefined
  after?: string | null | undefined
}

/** In any order; unknown ids are left out. */
export async function readBroadcasts(database: Database, ids: readonly string[]): Promise<Broadcast[]> {
  const known = ids.filter(isUuid)
  if (known.length === 0) return []
  const rows = await withRetry(() => database.query<BroadcastRow>('read-broadcasts', byIdStatement, [known]))
  return rows.map(toBroadcast)
}

export async function findBroadcast(database: Database, id: string): Promise<Broadcast | null> {
  const [broadcast] = await readBroadcasts(database, [id])
  return broadcast ?? null
}

/** Newest first. Fails with BAD_USER_INPUT, and with CURSOR_INVALID for what is none of its cursors. */
export async function pageBroadcasts(database: Database, { first, after }: PageArguments): Promise<Page<Broadcast>> {
  const size = pageSizeOf(first)
  if (after != null && !isUuid(after)) throw new CarillonError('CURSOR_INVALID', 'not a cursor of broadcasts')
  const values = [after ?? 'ffffffff-ffff-ffff-ffff-ffffffffffff', size + 1]
  const rows = await withRetry(() => database.query<BroadcastRow>('page-broadcasts', pageStatement, values))
  const more = { hasNextPage: rows.length > size, hasPreviousPage: after != null }
  return toPage(rows.slice(0, size).map(toBroadcast), ({ id }) => id, more)
}

export interface BroadcastRow {
  id: string
  status: BroadcastStatus
  category: string
  priority: number
  estimate: number
  sent: number
  failed: number
  skipped: number
  createdAt: number
  startedAt: number | null
  finishedAt: number | null
  error: string | null
}

export function toBroadcast({ estimate, ...row }: BroadcastRow): Broadcast {
  const { status, sent, failed, skipped, finishedAt } = row
  const processed = sent + failed + skipped
  const expected = Math.max(estimate, processed)
  return {
    ...row,
    priority: priorityOf(row.priority),
    total: finishedAt === null ? expected : processed,
    // Never all before it says so: the estimate may be low.
    progress: status === 'COMPLETED' ? 1 : processed / (expected + 1),
  }
}

function priorityOf(number: number): Priority {
  return priorities[number] ?? 'NORMAL'
}

/** In one snapshot, so that the numbers fit each other. */
const select = `
select b.id, b.status, b.category, b.priority, b.estimate, r.sent, r.failed, r.skipped,
  ${milliseconds('b.created_at')} as "createdAt", ${milliseconds('b.started_at')} as "startedAt",
  ${milliseconds('b.finished_at')} as "finishedAt", coalesce(b.error, r.failure) as error
from broadcasts b cross join lateral (
  select coalesce(sum(sent), 0)::int as sent, coalesce(sum(failed), 0)::int as failed,
    coalesce(sum(skipped), 0)::int as skipped, min(failure) as failure
  from broadcast_ranges where broadcast_id = b.id) r`

const byIdStatement = `${select} where b.id = any($1::uuid[])`
const pageStatement = `${select} where b.id < $1::uuid order by b.id desc limit $2`
