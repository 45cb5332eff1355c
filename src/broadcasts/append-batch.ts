// The heart of a broadcast: one statement appends a rendered stretch of users to their logs, all or nothing with the
// counters and the cursor of the range. It locks the range and looks whether it still stands where this worker left it,
// leaves out who has been deleted meanwhile, locks the inboxes in ascending order, decides there who is over the rate
// limit, numbers, inserts and counts. So a crash resumes exactly, and nobody gets it twice. As notifications/append.ts.
import { withPartition } from '../notifications/append.ts'
import type { Before } from '../notifications/doorbell.ts'
import { type InboxState, type Notification, priorities } from '../notifications/notification.ts'
import { type InboxRow, inboxColumns, milliseconds, toInbox } from '../notifications/rows.ts'
import type { Database } from '../postgres.ts'
import type { RenderedChunk } from '../templates/renderer.ts'
import { type Claim, leaseMs } from './claim.ts'

export interface Stretch extends Pick<RenderedChunk, 'items' | 'failed' | 'upTo'> {
  /** Where the range stands: the end of the stretch before. */
  cursor: string
  /** Why somebody in it could not be rendered for. */
  failure: string | null
  /** Nobody is behind it. */
  isLast: boolean
}

export interface AppendedStretch {
  received: { notification: Notification; inbox: InboxState & Before }[]
  /** Over their rate limit. */
  skipped: number
}

/** Undefined where the range is no longer this worker's, was stopped or has expired: nothing was appended then. */
export type AppendBatch = (claim: Claim, stretch: Stretch) => Promise<AppendedStretch | undefined>

/** The lease is renewed with each stretch. `userRatePerMinute` of 0 is no limit; CRITICAL has none. */
export function createAppendBatch(database: Database, userRatePerMinute: number): AppendBatch {
  return async (claim, { items, failed, upTo, cursor, failure, isLast }) => {
    const { broadcastId, nr, lease } = claim
    const isLimited = userRatePerMinute > 0 && priorities[claim.priority] !== 'CRITICAL'
    const [name, statement] = isLimited ? ['append-limited', limitedStatement] : ['append-stretch', unlimitedStatement]
    const values = [items, broadcastId, nr, lease, cursor, upTo, failed, failure, isLast]
    const rows = await withPartition(database, () =>
      database.query<AppendedRow>(name, statement, isLimited ? [...values, userRatePerMinute] : values),
    )
    const [first] = rows
    if (!first || first.skipped === null) return undefined
    const texts: Item[] = JSON.parse(items)
    const received = rows.flatMap((row) => {
      const item = row.ordinal === null ? undefined : texts[row.ordinal - 1]
      return item && hasInbox(row) ? { item, row } : []
    })
    return { received: received.map(({ item, row }) => place(claim, item, row)), skipped: first.skipped }
  }
}

/** As `Renderer` writes them. */
interface Item {
  i: string
  u: string
  t: string
  b: string | null
  l: string | null
}

type Appended = InboxRow & Before & { userId: string; epoch: string }
type AppendedRow = { ordinal: number | null; skipped: number | null } & {
  [Column in keyof Appended]: Appended[Column] | null
}

function hasInbox<Row extends AppendedRow>(row: Row): row is Row & Appended {
  return row.userId !== null
}

function place({ category, data, priority, expiresAt }: Claim, { i, t, b, l }: Item, row: Appended) {
  const inbox = { createdAtBefore: row.createdAtBefore, ...toInbox(row.userId, row.epoch, row) }
  const notification: Notification = {
    id: i,
    userId: row.userId,
    seq: inbox.seq,
    category,
    title: t,
    body: b,
    data,
    url: l,
    priority: priorities[priority] ?? 'NORMAL',
    createdAt: inbox.createdAt,
    expiresAt,
    deliveredAt: null,
    seenAt: null,
    readAt: null,
    archivedAt: null,
    epoch: inbox.epoch,
  }
  return { notification, inbox }
}

/** The last so many times are enough to tell whether there were more within a minute. */
const limit = {
  first: 'array[clock_timestamp()]',
  next: `case when b.broadcast_at[cardinality(b.broadcast_at)] > clock_timestamp() - interval '1 minute'
      then (b.broadcast_at || clock_timestamp()::timestamptz(3))[greatest(1, cardinality(b.broadcast_at) + 2 - $10::int):]
      else array[clock_timestamp()] end`,
  condition: `where b.broadcast_at is null or cardinality(b.broadcast_at) < $10::int
    or b.broadcast_at[cardinality(b.broadcast_at) + 1 - $10::int] <= clock_timestamp() - interval '1 minute'`,
}
const noLimit = { first: 'null::timestamptz(3)[]', next: 'b.broadcast_at', condition: '' }

const statement = ({ first, next, condition }: typeof limit) => `
with spot as materialized (
  select r.broadcast_id, r.nr, b.category, b.data, b.priority, b.expires_at
  from broadcast_ranges r join broadcasts b on b.id = r.broadcast_id
  where r.broadcast_id = $2::uuid and r.nr = $3 and r.lease = $4::uuid and r.cursor = $5 and not r.is_done
    and (b.expires_at is null or b.expires_at > clock_timestamp())
  for update of r),
item as materialized (
  select x.i, x.u collate "C" as u, x.t, x.b, x.l, x.ord, s.category, s.data, s.priority, s.expires_at
  from spot s cross join rows from (json_to_recordset($1::json) as (i uuid, u text, t text, b text, l text))
    with ordinality as x(i, u, t, b, l, ord)
  where exists (select from users where id = x.u collate "C")),
box as (
  insert into inboxes as b (user_id, last_seq, last_created_at, undelivered, unseen, unread, broadcast_at)
  select u, 1, clock_timestamp(), 1, 1, 1, ${first} from item order by u
  on conflict (user_id) do update set
    last_seq = b.last_seq + 1,
    previous_created_at = b.last_created_at,
    last_created_at = greatest(b.last_created_at, clock_timestamp()),
    undelivered = b.undelivered + 1,
    unseen = b.unseen + 1,
    unread = b.unread + 1,
    broadcast_at = ${next}
  ${condition}
  returning *),
put as (
  insert into notifications (id, user_id, seq, category, title, body, data, url, priority, expires_at, created_at)
  select t.i, t.u, b.last_seq, t.category, t.t, t.b, t.data, t.l, t.priority, t.expires_at, b.last_created_at
  from item t join box b on b.user_id = t.u),
moved as (
  update broadcast_ranges r set cursor = $6, sent = r.sent + n.sent, failed = r.failed + $7::int,
    skipped = r.skipped + n.skipped, failure = coalesce(r.failure, $8), is_done = $9, attempts = 0,
    lease = case when $9 then null else r.lease end,
    leased_until = clock_timestamp() + interval '${leaseMs} milliseconds'
  from spot s, lateral (
    select (select count(*) from box)::int as sent, (select count(*) from item)::int - (select count(*) from box)::int as skipped) n
  where r.broadcast_id = s.broadcast_id and r.nr = s.nr
  returning n.skipped)
select (select skipped from moved) as skipped, x.*
from (values (1)) one left join (
  select t.ord::int as ordinal, b.user_id as "userId", ${inboxColumns},
    ${milliseconds('b.previous_created_at')} as "createdAtBefore", (select epoch from carillon_state) as epoch
  from box b join item t on t.u = b.user_id) x on true`

const limitedStatement = statement(limit)
const unlimitedStatement = statement(noLimit)
