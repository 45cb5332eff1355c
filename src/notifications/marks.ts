// The SQL of marks: for each what it changes, and what it takes off the counters. acknowledge.ts runs it; change.ts has
// the statement around it.
import { changeStatement, stillThere, type Takes } from './change.ts'
import { doorbellRowsMax } from './doorbell.ts'
import {
  type InboxRow,
  inboxColumns,
  instant,
  milliseconds,
  moment,
  type NotificationRow,
  type Nullable,
  visible,
  within,
} from './rows.ts'

export type Mark = 'delivered' | 'seen' | 'read' | 'unread' | 'archived' | 'unarchived'

/** Rows in one commit. It holds the inbox, and so keeps sends to this user waiting, for some tens of milliseconds. */
export const markRowsMax = 1_000

/** What the statements answer: one row at least, with the notification's columns null where nothing changed. */
export interface MarkRow extends Nullable<InboxRow>, Nullable<NotificationRow> {
  epoch: string
  /** Rows changed; the newest of them are returned. */
  count: number
  /** Rows found, and the lowest place among them. */
  candidates: number
  lowestSeq: number | null
  lowestCreatedAt: number | null
}

interface MarkChange {
  open: string
  set: string
  takes: Takes
  /** The counter of the rows that are open: how many there are to find. */
  counter?: keyof Takes
}

const delivered: MarkChange = { ...implying('delivered'), counter: 'undelivered' }
const seen: MarkChange = { ...implying('delivered', 'seen'), counter: 'unseen' }
const read: MarkChange = { ...implying('delivered', 'seen', 'read'), counter: 'unread' }
const archived = implying('delivered', 'seen', 'read', 'archived')
// Archived implies read: an archived one stays as it is.
const unread: MarkChange = {
  open: 'n.read_at is not null and n.archived_at is null',
  set: 'read_at = null',
  takes: { undelivered: '0', unseen: '0', unread: '-1' },
}
const unarchived: MarkChange = {
  open: 'n.archived_at is not null',
  set: 'archived_at = null',
  takes: { undelivered: '0', unseen: '0', unread: '0' },
}

/** Sets the last state and all that it implies. The first time stands, and none is before the notification itself. */
function implying(...states: string[]): MarkChange {
  const takes = (state: string) => (states.includes(state) ? `(n.${state}_at is null)::int` : '0')
  return {
    open: `n.${states.at(-1)}_at is null`,
    set: states.map((state) => `${state}_at = coalesce(n.${state}_at, greatest(now(), n.created_at))`).join(', '),
    takes: { undelivered: takes('delivered'), unseen: takes('seen'), unread: takes('read') },
  }
}

/** Everything at or below it is delivered. */
const watermark = ['(select delivered_created_at from inbox)', '(select delivered_seq from inbox)'] as const

const result = `select m.epoch, (select count(*)::int from changed) as count,
    (select count(*)::int from candidate) as candidates, (select min(seq) from candidate) as "lowestSeq",
    (select ${milliseconds('min(created_at)')} from candidate) as "lowestCreatedAt", b.*, n.*
  from moment m
  left join (
    select * from updated
    union all
    select b.user_id, ${inboxColumns} from inboxes b where b.user_id = $2 and not exists (select from updated)) b on true
  left join (select * from changed order by "createdAt" desc, seq desc limit ${doorbellRowsMax}) n on true
  order by n."createdAt" desc, n.seq desc`

/** $1 retention in milliseconds, $2 user, $3 ids. */
export const markByIds: Record<Mark, string> = {
  delivered: byIds(delivered),
  seen: byIds(seen),
  read: byIds(read),
  unread: byIds(unread),
  archived: byIds(archived),
  unarchived: byIds(unarchived),
}

function byIds({ open, set, takes }: MarkChange): string {
  return changeStatement({
    first: `moment as (${moment('$1')}),
      hit as materialized (select * from notifications where id = any ($3::uuid[]))`,
    candidate: `select n.user_id, n.created_at, n.seq from hit n
      where n.user_id = $2 and ${open} and not n.swept and ${visible}`,
    open: `${open} and ${stillThere}`,
    set,
    takes,
    result,
  })
}

/**
 * $1 retention in milliseconds, $2 user, $3 epoch; ($4, $5) up to and ($6, $7) after, each milliseconds and seq; ($8, $9)
 * likewise, or null: everything up to there is delivered once a commit finds fewer than `markRowsMax`.
 */
export const markUpTo: Partial<Record<Mark, string>> = {
  delivered: upTo(delivered),
  seen: upTo(seen),
  read: upTo(read),
  archived: upTo(archived),
}

function upTo({ open, set, takes, counter }: MarkChange): string {
  // No more than the counter says are there to be found: the search ends with the last of them.
  const limit = counter ? `(select least(${counter}, ${markRowsMax}) from inbox)` : `${markRowsMax}`
  const isDelivered = `$9::int > b.delivered_seq and $9 <= b.last_seq and (select count(*) from candidate) < ${markRowsMax}`
  return changeStatement({
    first: `moment as (${moment('$1')}),
      inbox as materialized (select * from inboxes where user_id = $2)`,
    candidate: `select n.user_id, n.created_at, n.seq from notifications n
      where n.user_id = $2 and $3 = (select epoch from moment) and ${open} and not n.swept and ${visible}
        and ${within('<=', instant('$4'), '$5::int')} and ${within('>', instant('$6'), '$7::int')}
        ${counter === 'undelivered' ? `and ${within('>', ...watermark)}` : ''}
      order by n.created_at desc, n.seq desc limit ${limit}`,
    lock: `b.user_id = $2 and $3 = (select epoch from moment) and (exists (select from candidate) or ${isDelivered})`,
    open: `${open} and ${stillThere}`,
    set,
    takes,
    watermark: `delivered_created_at = case when ${isDelivered} then ${instant('$8')} else b.delivered_created_at end,
      delivered_seq = case when ${isDelivered} then $9 else b.delivered_seq end`,
    result,
  })
}
