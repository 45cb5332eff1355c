// Reading a user's log from a cursor: the one operation behind replay, recovery, a lost doorbell, a slow reader and a
// killed instance. Everything else only decides when to call it (subscribe.ts).
import { type Database, isTransient } from '../postgres.ts'
import type { InboxState, Notification, Position } from './notification.ts'
import {
  hasNotification,
  type InboxRow,
  inboxColumns,
  instant,
  milliseconds,
  moment,
  type NotificationRow,
  type Nullable,
  notificationColumns,
  toInbox,
  toNotification,
  visible,
  within,
} from './rows.ts'

/**
 * Logs of one read. A statement of its own takes 165 to 235 µs of Node and 290 to 440 of PostgreSQL, one log among sixteen
 * 23 to 34 and 33 to 54 (measured); more would make a page of a hundred rows wait for too many others.
 */
export const logsPerReadMax = 16
/** Rows of one page: a thousand by 500 take three quarters of what they take by 100 (docs/BENCHMARKS.md). */
export const pageRowsMax = 500
/** Rows of one read, which its pages share: what is parsed without a pause, and waited for by the others. */
const readRowsMax = 1_600
/** Of each page of a read of so many logs. */
export const rowsMaxOf = (logs: number) => Math.min(pageRowsMax, Math.floor(readRowsMax / logs))
/**
 * Bytes of one read, about: a page waits in memory for a slow socket. It ends with the row that reaches this, so that it
 * has one row at least and is heavier by less than one. Five hundred rows of ordinary size stay below.
 */
export const pageBytesMax = 256 * 1024
/** What a row takes beside its texts, about. */
const rowBytes = 200
/** How far the delivered watermark may lag before a replay moves it: so many rows are skipped faster than written. */
export const watermarkLagMax = 200

export interface ReadOptions {
  /** Where to go on, or null: before the first undelivered one. */
  after: Position | null
  /** Up to this seq only undelivered ones; 0: all. Null: up to the head, whatever it is. */
  undeliveredUpTo: number | null
  /** Whether to look for the row after `after`, so that `isNextThere` means something. */
  checkNext: boolean
}

export interface LogPage {
  /** The head of the log and the counters in the same snapshot as the rows. */
  inbox: InboxState
  /** Visible ones after the cursor, oldest first, as many as `rowsMaxOf` and `pageBytesMax` let through. */
  notifications: Notification[]
  /** How far it looked: over rows that have expired, were retracted or are filtered, too. */
  upTo: Position
  /** Whether that is the head. */
  isComplete: boolean
  /**
   * Whether the log still is the one that the cursor was made of: it holds the row there. False where a backup was
   * restored since, however far the numbers have come again. Of a row that was dropped with its partition nobody can
   * tell; then it is enough that no number is given out again behind it.
   */
  isSameLog: boolean
  /** False where the row after the cursor exists no more, or is past the retention time. */
  isNextThere: boolean
}

export interface Head {
  seq: number
  /** Of the notification at `seq`; left out where there is none. */
  createdAt?: number
  stateVersion: number
}

/** One user's read, among others. */
export interface ReadRequest extends ReadOptions {
  userId: string
}

export interface Log {
  /** A page of each of these logs, in the order of the requests, in one statement: `logsPerReadMax` at most. */
  read(requests: readonly ReadRequest[]): Promise<LogPage[]>
  /** The heads of many logs at once; users without one are left out. */
  heads(userIds: string[]): Promise<{ epoch: string; heads: Map<string, Head> }>
}

export function createLog(database: Database, retentionMs: number): Log {
  return {
    async read(requests) {
      const records = requests.map(({ userId, after, undeliveredUpTo, checkNext }) => ({
        u: userId,
        q: after?.seq,
        c: after?.createdAt,
        d: undeliveredUpTo,
        x: checkNext,
      }))
      const rowsMax = rowsMaxOf(requests.length)
      const values = [JSON.stringify(records), retentionMs, rowsMax, pageBytesMax]
      const rows = await database.query<LogRow>('log-read', readStatement, values)
      const ofRequest: LogRow[][] = requests.map(() => [])
      for (const row of rows) ofRequest[row.ordinal - 1]?.push(row)
      const pages = requests.map((request, index) => toPage(request, ofRequest[index] ?? [], rowsMax))
      await moveWatermarks(
        pages.flatMap((page, index) => (requests[index]?.after === null ? lagOf(page, ofRequest[index]?.[0]) : [])),
      )
      return pages
    },
    async heads(userIds) {
      const rows = await database.query<HeadRow>('log-heads', headsStatement, [userIds])
      const heads = new Map<string, Head>()
      for (const { userId, epoch: _, ...head } of rows) if (userId !== null) heads.set(userId, head)
      return { epoch: rows[0]?.epoch ?? '', heads }
    },
  }

  function toPage({ userId, after }: ReadRequest, rows: readonly LogRow[], rowsMax: number): LogPage {
    const [first] = rows
    if (!first) throw new Error('carillon_state has no row')
    const inbox = toInbox(userId, first.epoch, first)
    const notifications: Notification[] = []
    for (const row of rows) if (hasNotification(row)) notifications.push(toNotification(row, first.epoch))
    const last = notifications.at(-1)
    const isComplete = notifications.length < rowsMax && (rows.at(-1)?.bytes ?? 0) < pageBytesMax
    const upTo = isComplete || !last ? inbox : last
    return {
      inbox,
      notifications,
      upTo: { seq: upTo.seq, createdAt: upTo.createdAt },
      isComplete,
      isSameLog: after === null || isSameLog(after, first),
      isNextThere:
        after === null || after.seq >= inbox.seq || (first.nextSeq === after.seq + 1 && first.isNextKept === true),
    }
  }

  /** So that the next replays don't walk over all that was acknowledged. What lies below never comes back. */
  async function moveWatermarks(places: readonly (Position & { userId: string })[]): Promise<void> {
    if (places.length === 0) return
    const records = places.map(({ userId, seq, createdAt }) => ({ u: userId, q: seq, c: createdAt }))
    try {
      await database.query('log-watermarks', watermarksStatement, [JSON.stringify(records)])
    } catch (error) {
      // It only saves work: another replay will move them.
      if (!isTransient(error)) throw error
    }
  }
}

/** Where the watermark belongs, if it lags far behind: before the first undelivered one, or at the head. */
function lagOf({ inbox, notifications: [first] }: LogPage, row?: LogRow): (Position & { userId: string })[] {
  const seq = first ? first.seq - 1 : inbox.seq
  if (seq - (row?.deliveredSeq ?? 0) <= watermarkLagMax) return []
  return [{ userId: inbox.userId, seq, createdAt: (first ?? inbox).createdAt }]
}

function isSameLog({ seq }: Position, { isFound, isPast, nextSeq }: LogRow): boolean {
  return seq === 0 || isFound || (isPast && (nextSeq === null || nextSeq > seq))
}

/** Without an inbox, or a notification, its columns are null. */
interface LogRow extends Nullable<InboxRow>, Nullable<NotificationRow> {
  /** Of the request, from 1. */
  ordinal: number
  /** Of the page's rows up to this one. */
  bytes: number | null
  epoch: string
  deliveredSeq: number | null
  /** Whether the log has the cursor's row. */
  isFound: boolean
  /** Whether that is past the retention time. */
  isPast: boolean
  /** Of the row after the cursor; null where there is none, or nobody asked. */
  nextSeq: number | null
  isNextKept: boolean | null
}

interface HeadRow extends Required<Head> {
  epoch: string
  userId: string | null
}

const start = ['s.created_at', 's.seq'] as const
const textBytes = ['title', 'body', 'data', 'url'].map((column) => `coalesce(octet_length(n.${column}), 0)`).join(' + ')

// $1 the requests: user, seq and created_at in ms to go on after, undelivered up to, check next. $2 retention in ms, $3 rows
// and $4 bytes of a page. Ordered as the primary key is, with created_at bounded, so that older partitions are not touched.
// The rows are limited before they are added up, or the search would go on behind the page; the length of a text is known
// without reading it.
const readStatement = `
with moment as materialized (${moment('$2')})
select r.ord::int as ordinal, m.epoch, ${inboxColumns}, b.delivered_seq as "deliveredSeq",
  p.found is not null as "isFound", s.created_at <= m.cutoff as "isPast", x.*, n.*
from moment m
cross join rows from (json_to_recordset($1::json) as (u text, q int, c float8, d int, x bool))
  with ordinality as r(u, q, c, d, x, ord)
-- The limits keep the planner from reading a whole table once for the hundred requests that it expects.
left join lateral (select * from inboxes b where b.user_id = r.u collate "C" limit 1) b on true
cross join lateral (select
  coalesce(r.q, b.delivered_seq, 0) as seq,
  coalesce(${instant('r.c')}, b.delivered_created_at, 'epoch') as created_at) s
left join lateral (
  select true as found from notifications n
  where r.q > 0 and n.user_id = r.u collate "C" and (n.created_at, n.seq) = (${start.join(', ')}) limit 1) p on true
left join lateral (
  select n.seq as "nextSeq", n.created_at > m.cutoff as "isNextKept" from notifications n
  where n.user_id = r.u collate "C" and ${within('>', ...start)} and r.q is not null and (r.x or p.found is null)
  order by n.created_at, n.seq limit 1) x on true
left join lateral (
  select ${notificationColumns}, n.bytes::float8 as bytes from (
    select n.*, sum(n.weight) over (order by n.created_at, n.seq rows unbounded preceding) as bytes from (
      select n.*, ${rowBytes} + ${textBytes} as weight from notifications n
      where n.user_id = r.u collate "C" and ${within('>', ...start)}
        and (n.delivered_at is null or n.seq > coalesce(r.d, b.last_seq))
        -- The counter saves a whole replay the search where nothing is undelivered.
        and (r.q is not null or b.undelivered > 0)
        and ${visible}
      order by n.created_at, n.seq limit $3) n) n
  where n.bytes - n.weight < $4::int
  order by n.created_at, n.seq) n on true`

const headsStatement = `
select s.epoch, b.user_id as "userId", b.last_seq as seq, ${milliseconds('b.last_created_at')} as "createdAt",
  b.state_version::float8 as "stateVersion"
from carillon_state s left join inboxes b on b.user_id = any($1::text[])`

// Whoever has an inbox locked is writing to it: it is passed over.
const watermarksStatement = `
with free as materialized (
  select b.user_id, r.q, r.c from json_to_recordset($1::json) as r(u text, q int, c float8)
  join inboxes b on b.user_id = r.u collate "C" order by b.user_id for update of b skip locked)
update inboxes b set delivered_seq = free.q, delivered_created_at = ${instant('free.c')}
from free where b.user_id = free.user_id and b.delivered_seq < free.q`
