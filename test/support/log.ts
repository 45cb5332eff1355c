// For tests of what happens to a log: what its doorbells said, whether its counters hold, and how old its rows are.
import { sql } from 'kysely'
import type { Bus } from '../../src/bus/bus.ts'
import type { Doorbell } from '../../src/notifications/doorbell.ts'
import type { Log, LogPage, ReadOptions } from '../../src/notifications/log.ts'
import type { Notification } from '../../src/notifications/notification.ts'
import { createPartitions } from '../../src/notifications/partitions.ts'
import type { SendInput } from '../../src/notifications/validate.ts'
import type { Database } from '../../src/postgres.ts'
import { input, type Slice } from './slice.ts'

export const dayMs = 24 * 3600 * 1000

/** Sends so many to one user, and returns them oldest first. */
export async function fill(slice: Slice, userId: string, count: number, fields: Partial<SendInput> = {}) {
  const sent: Notification[] = []
  while (sent.length < count) {
    const inputs = Array.from({ length: Math.min(count - sent.length, 1_000) }, () => input({ userId, ...fields }))
    for (const { payload } of await slice.sendMany('service', inputs)) if (payload) sent.push(payload.notification)
  }
  return sent
}

/** The first page of one log. */
export async function readPage(log: Log, userId: string, options: ReadOptions): Promise<LogPage> {
  const [page] = await log.read([{ userId, ...options }])
  if (!page) throw new Error('the log answered with no page')
  return page
}

/** All that rings for the user from now on. */
export function doorbells(bus: Bus<Doorbell>, userId: string): Doorbell[] {
  const rung: Doorbell[] = []
  bus.listen(userId, (doorbell) => void rung.push(doorbell))
  return rung
}

/** The inboxes whose counters are not what counting their rows says: none, wherever a test asks. */
export async function miscounted(database: Database): Promise<unknown[]> {
  const { rows } = await sql`
    select b.user_id, b.undelivered, b.unseen, b.unread, c.*
    from inboxes b cross join carillon_state s cross join lateral (
      select count(*) filter (where delivered_at is null)::int as rows_undelivered,
        count(*) filter (where seen_at is null)::int as rows_unseen,
        count(*) filter (where read_at is null)::int as rows_unread
      from notifications n where n.user_id = b.user_id and archived_at is null and retracted_at is null and not swept
        and created_at > s.retained_from) c
    where (b.undelivered, b.unseen, b.unread) <> (c.rows_undelivered, c.rows_unseen, c.rows_unread)
      or least(b.undelivered, b.unseen, b.unread) < 0`.execute(database.kysely)
  return rows
}

/** Makes the user's notifications up to `seq` older, as if they had been sent `ms` earlier. */
export async function makeOlder(database: Database, userId: string, seq: number, ms: number): Promise<void> {
  // Each call makes those of five weeks; what is moved may have been moved before.
  for (let week = 0; week < 15; week += 5) await createPartitions(database, Date.now() - week * 7 * dayMs)
  await sql`update notifications set created_at = created_at - ${ms}::float8 * interval '1 millisecond'
    where user_id = ${userId} and seq <= ${seq}`.execute(database.kysely)
}

/** Makes the user's notifications up to `seq` expire a moment ago. */
export async function makeExpired(database: Database, userId: string, seq: number): Promise<void> {
  await sql`update notifications set expires_at = now() - interval '1 millisecond'
    where user_id = ${userId} and seq <= ${seq}`.execute(database.kysely)
}
