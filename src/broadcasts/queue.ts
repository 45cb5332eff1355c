// What waits: for metrics and health.
import { type Priority, priorities } from '../notifications/notification.ts'
import type { Database } from '../postgres.ts'

export interface QueuedBroadcasts {
  priority: Priority
  /** Users that unfinished broadcasts have still to come to, about; one at least for each. */
  depth: number
  /** Since the oldest unfinished one was accepted; 0 where there is none. */
  oldestSeconds: number
}

/** All priorities, those with nothing to do too. */
export async function readQueue(database: Database): Promise<QueuedBroadcasts[]> {
  const rows = await database.query<{ priority: number; depth: number; oldestSeconds: number }>(
    'broadcast-queue',
    statement,
    [],
  )
  const byPriority = new Map(rows.map((row) => [row.priority, row]))
  return priorities.map((priority, number) => {
    const { depth = 0, oldestSeconds = 0 } = byPriority.get(number) ?? {}
    return { priority, depth, oldestSeconds }
  })
}

const statement = `
select b.priority, sum(greatest(1, b.estimate - r.processed))::float8 as depth,
  extract(epoch from clock_timestamp() - min(b.created_at))::float8 as "oldestSeconds"
from broadcasts b cross join lateral (
  select coalesce(sum(sent + failed + skipped), 0) as processed from broadcast_ranges where broadcast_id = b.id) r
where b.finished_at is null group by b.priority`
