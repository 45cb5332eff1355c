// The heart of sending: one statement appends a batch to many logs. It locks each user's inbox row in ascending order,
// gives out the next numbers, inserts and counts, and is over: no lock outlives it. Whoever calls it: group-commit.ts.
import { CarillonError } from '../errors.ts'
import { type Database, sqlState } from '../postgres.ts'
import type { Before } from './doorbell.ts'
import { type Content, type InboxState, type Notification, priorities } from './notification.ts'
import { createPartitions } from './partitions.ts'
import {
  type InboxRow,
  inboxColumns,
  milliseconds,
  type NotificationRow,
  notificationColumns,
  toInbox,
  toNotification,
} from './rows.ts'

/** A validated notification that has no place in a log yet. */
export interface AppendItem extends Content {
  id: string
  idempotency: Idempotency | null
}

/** Which earlier send would be the same one. */
export interface Idempotency {
  /** The sender's `sub`. */
  sender: string
  operation: string
  key: string
  /** SHA-256 of the validated input, in hex. */
  hash: string
}

export interface Appended {
  notification: Notification
  /** The user's inbox after the whole batch, and what that follows upon. */
  inbox: InboxState & Before
}

export interface Append {
  /**
   * All or nothing, in one statement. An item whose idempotency key had been used before takes no number and is left
   * undefined: `findFirst` has it. Two items of one batch must not have the same key.
   */
  append(items: readonly AppendItem[]): Promise<(Appended | undefined)[]>
  /** What was first sent under these keys within `idempotencyHours`, in the order of the keys. */
  findFirst(keys: readonly Idempotency[]): Promise<(First | undefined)[]>
  /** Of these users, those whose inbox nobody has locked right now, or who have none. Waits for nothing. */
  findUnlocked(userIds: string[]): Promise<string[]>
}

export interface First {
  notification: Notification
  /** Of the input that it was sent with. */
  hash: string
}

/** The contract promises 24 hours. The sweeper deletes older keys, and a send may take one over before that. */
export const idempotencyHours = 24

export function createAppend(database: Database): Append {
  return {
    async append(items) {
      const isKeyed = items.some(({ idempotency }) => idempotency !== null)
      const values = [JSON.stringify(items.map(toRecord))]
      const rows = await withPartition(database, () =>
        isKeyed
          ? database.query<AppendedRow>('append-keyed', keyedStatement, values)
          : database.query<AppendedRow>('append', keylessStatement, values),
      )
      const results = new Array<Appended | undefined>(items.length)
      for (const row of rows) {
        const ordinals = row.ordinals.split(' ').map(Number)
        const inbox = { createdAtBefore: row.createdAtBefore, ...toInbox(row.userId, row.epoch, row) }
        let seq = inbox.seq - ordinals.length
        for (const ordinal of ordinals) {
          const item = items[ordinal - 1]
          if (item) results[ordinal - 1] = { notification: place(item, ++seq, inbox), inbox }
        }
      }
      return results
    },
    async findFirst(keys) {
      const records = keys.map(({ sender, operation, key }) => ({ s: sender, o: operation, k: key }))
      const rows = await database.query<NotificationRow & { ordinal: number; hash: string; epoch: string }>(
        'find-first',
        findFirstStatement,
        [JSON.stringify(records)],
      )
      const results = new Array<First | undefined>(keys.length)
      for (const row of rows) {
        results[row.ordinal - 1] = { notification: toNotification(row, row.epoch), hash: row.hash }
      }
      return results
    },
    async findUnlocked(userIds) {
      const rows = await database.query<{ u: string }>('find-unlocked', findUnlockedStatement, [userIds])
      return rows.map(({ u }) => u)
    },
  }
}

/** Partitions are made weeks ahead (retention.ts). Where nobody did for so long, the first that appends does. */
export async function withPartition<Result>(database: Database, run: () => Promise<Result>): Promise<Result> {
  try {
    return await run()
  } catch (error) {
    if (sqlState(error) !== noPartition) throw error
  }
  try {
    await createPartitions(database)
    return await run()
  } catch (error) {
    throw new CarillonError('UNAVAILABLE', 'the log has no partition for this week', {}, error)
  }
}

/** A row that fits no partition violates the constraint of all of them. */
const noPartition = '23514'

type AppendedRow = InboxRow & Before & { userId: string; epoch: string; ordinals: string }

const toRecord = (item: AppendItem) => ({
  i: item.id,
  u: item.userId,
  c: item.category,
  t: item.title,
  b: item.body,
  d: item.data,
  l: item.url,
  p: priorities.indexOf(item.priority),
  e: item.expiresAt,
  s: item.idempotency?.sender,
  o: item.idempotency?.operation,
  k: item.idempotency?.key,
  h: item.idempotency?.hash,
})

function place(item: AppendItem, seq: number, inbox: InboxState): Notification {
  const { idempotency: _, ...content } = item
  const states = { deliveredAt: null, seenAt: null, readAt: null, archivedAt: null }
  // Spreads last: V8 takes 6.4 µs for this object where they come first, and 0.2 so.
  return { seq, createdAt: inbox.createdAt, epoch: inbox.epoch, ...content, ...states }
}

// One json parameter costs Node less than an array a column. Sorted in SQL, by the column's own collation: the lock
// order follows from it, and two orders would deadlock.
const statement = (fresh: string, isTodo: string) => `
with item as materialized (
  select i, u collate "C" as u, c, t, b, d, l, p, e, s collate "C" as s, o collate "C" as o, k collate "C" as k, h, ord
  from rows from (json_to_recordset($1::json) as
    (i uuid, u text, c text, t text, b text, d text, l text, p int2, e float8, s text, o text, k text, h text))
    with ordinality as x(i, u, c, t, b, d, l, p, e, s, o, k, h, ord)),
${fresh}
todo as materialized (
  select *, row_number() over (partition by u order by ord) as nth, count(*) over (partition by u) as many
  from item ${isTodo}),
box as (
  insert into inboxes as b (user_id, last_seq, last_created_at, undelivered, unseen, unread)
  select u, count(*), clock_timestamp(), count(*), count(*), count(*) from todo group by u order by u
  on conflict (user_id) do update set
    last_seq = b.last_seq + excluded.last_seq,
    previous_created_at = b.last_created_at,
    last_created_at = greatest(b.last_created_at, clock_timestamp()),
    undelivered = b.undelivered + excluded.undelivered,
    unseen = b.unseen + excluded.unseen,
    unread = b.unread + excluded.unread
  returning *),
put as (
  insert into notifications (id, user_id, seq, category, title, body, data, url, priority, expires_at, created_at)
  select i, u, b.last_seq - many + nth, c, t, t.b, d, l, p, to_timestamp(e / 1000), b.last_created_at
  from todo t join box b on b.user_id = t.u)
select o.ordinals, b.user_id as "userId", ${inboxColumns},
  ${milliseconds('b.previous_created_at')} as "createdAtBefore", (select epoch from carillon_state) as epoch
from box b join (select u, string_agg(ord::text, ' ' order by ord) as ordinals from todo group by u) o on o.u = b.user_id`

const keylessStatement = statement('', '')

const keyedStatement = statement(
  `fresh as (
  insert into idempotency_keys (sender, operation, key, user_id, hash, id)
  select s, o, k, u, decode(h, 'hex'), i from item where k is not null order by s, o, k
  on conflict (sender, operation, key) do update
    set user_id = excluded.user_id, hash = excluded.hash, id = excluded.id, at = now()
    where idempotency_keys.at < now() - interval '${idempotencyHours} hours'
  returning id),`,
  'where k is null or i in (select id from fresh)',
)

const findFirstStatement = `
select x.ord::int as ordinal, encode(k.hash, 'hex') as hash, ${notificationColumns},
  (select epoch from carillon_state) as epoch
from rows from (json_to_recordset($1::json) as (s text, o text, k text)) with ordinality as x(s, o, k, ord)
join idempotency_keys k on k.sender = x.s and k.operation = x.o and k.key = x.k
  and k.at >= now() - interval '${idempotencyHours} hours'
join notifications n on n.id = k.id`

const findUnlockedStatement = `
with free as materialized (select user_id from inboxes where user_id = any($1) order by user_id for update skip locked)
select u from unnest($1::text[]) u
where u in (select user_id from free) or not exists (select from inboxes where user_id = u collate "C")`
