// How a broadcast ends, and is forgotten. No statement that appends can be under way when this returns, and none begins after it: each of
// them locks its range and looks whether it is done.
import type { Database } from '../postgres.ts'
import { withRetry } from '../retry.ts'

/** Before it is through: CANCELLED by somebody, or FAILED with the reason. Does nothing to one that has ended. */
export async function stopBroadcast(
  database: Database,
  id: string,
  status: 'CANCELLED' | 'FAILED',
  error: string | null,
): Promise<void> {
  await withRetry(() => database.query('stop-broadcast', stopStatement, [id, status, error]))
}

/** COMPLETED, where nothing is left to do; of one broadcast, or of all where `id` is null. */
export async function completeBroadcasts(database: Database, id: string | null): Promise<void> {
  await withRetry(() => database.query('complete-broadcasts', completeStatement, [id]))
}

/** Of one statement; what is left waits for the next run. */
const forgottenMax = 100

/** Those that ended longer ago than notifications are kept. */
export async function forgetBroadcasts(database: Database, retentionMs: number): Promise<void> {
  await withRetry(() => database.query('forget-broadcasts', forgetStatement, [retentionMs, forgottenMax]))
}

// The ranges first, as everybody locks them; counting them is what makes the second statement wait for the first.
const stopStatement = `
with stopped as (
  update broadcast_ranges set is_done = true, lease = null, leased_until = null
  where broadcast_id = $1::uuid and not is_done
    and exists (select from broadcasts where id = $1::uuid and finished_at is null)
  returning nr)
update broadcasts set status = $2, finished_at = clock_timestamp(), error = $3
from (select count(*) from stopped) s where id = $1::uuid and finished_at is null`

const completeStatement = `
update broadcasts b set status = 'COMPLETED', finished_at = clock_timestamp()
where finished_at is null and ($1::uuid is null or id = $1::uuid)
  and not exists (select from broadcast_ranges where broadcast_id = b.id and not is_done)`

const forgetStatement = `
delete from broadcasts where id in (
  select id from broadcasts where finished_at < now() - $1::float8 * interval '1 millisecond'
  order by finished_at limit $2)`
