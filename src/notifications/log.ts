// Reading a user's log from a cursor: the one operation behind replay, recovery, a lost doorbell, a slow reader and a
// killed instance. Everything else only decides when to call it (subscribe.ts).
import { type Database, isTransient } from '../postgres.ts'
import type { InboxState, Notification, Position } from './notification.ts'
import {
  type InboxRow,
  inboxColumns,
  moment,
  type NotificationRow,
  type Nullable,
  notificationColumns,
  toInbox,
  toNotification,
  visible,
} from './rows.ts'

/** Rows of one read: enough to be cheap by the row, few enough to wait in memory for a slow socket. */
export const pageRowsMax = 100
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
  /** Visible ones after the cursor, oldest first, `pageRowsMax` at most. */
  notifications: Notification[]
  /** How far it looked: over rows that have expired, were retracted or are filtered, too. */
  upTo: Position
  /** Whether that is the head. */
  isComplete: boolean
  /** False where the row after the cursor exists no more, or is past the retention time. */
  isNextThere: boolean
}

export interface Head {
  seq: number
  stateVersion: number
}

export interface Log {
  read(userId: string, options: ReadOptions): Promise<LogPage>
  /** The heads of many logs at once; users without one are left out. */
  heads(userIds: string[]): Promise<{ epoch: string; heads: Map<string, Head> }>
}

export function createLog(database: Database, retentionMs: number): Log {
  return {
    async read(userId, { after, undeliveredUpTo, checkNext }) {
      const rows = await database.query<LogRow>('log-read', readStatement, [
        userId,
        retentionMs,
        after?.seq ?? null,
        after?.createdAt ?? null,
        undeliveredUpTo,
        checkNext,
        pageRowsMax,
      ])
      const [first] = rows
      if (!first) throw new Error('carillon_state has no row')
      const inbox = toInbox(userId, first.epoch, first)
      const notifications = rows.flatMap((row) =>
        row.seq === null ? [] : [toNotification({ ...row, seq: row.seq }, first.epoch)],
      )
      const last = notifications.at(-1)
      const isComplete = notifications.length < pageRowsMax
      const upTo = isComplete || !last ? inbox : last
      if (!after) await moveWatermark(userId, inbox, first, notifications[0])
      return {
        inbox,
        notifications,
        upTo: { seq: upTo.seq, createdAt: upTo.createdAt },
        isComplete,
        isNextThere: after === null || after.seq >= inbox.seq || first.nextSeq === after.seq + 1,
      }
    },
    async heads(userIds) {
      const rows = await database.query<HeadRow>('log-heads', headsStatement, [userIds])
      const heads = new Map<string, Head>()
      for (const { userId, seq, stateVersion } of rows) if (userId !== null) heads.set(userId, { seq, stateVersion })
      return { epoch: rows[0]?.epoch ?? '', heads }
    },
  }

  /** So that the next replay doesn't walk over all that was acknowledged. What lies below never comes back. */
  async function moveWatermark(userId: string, inbox: InboxState, row: LogRow, first?: Notification): Promise<void> {
    const seq = first ? first.seq - 1 : inbox.seq
    if (seq - (row.deliveredSeq ?? 0) <= watermarkLagMax) return
    try {
      await database.query('log-watermark', watermarkStatement, [userId, seq, (first ?? inbox).createdAt])
    } catch (error) {
      // It only saves work, and somebody else is writing to this inbox: another replay will move it.
      if (!isTransient(error)) throw error
    }
  }
}

/** Without an inbox, or a notification, its columns are null. */
interface LogRow extends Nullable<InboxRow>, Omit<NotificationRow, 'seq'> {
  seq: number | null
  epoch: string
  deliveredSeq: number | null
  nextSeq: number | null
}

interface HeadRow extends Head {
  epoch: string
  userId: string | null
}

// $1 user, $2 retention in ms, $3 seq and $4 created_at in ms to go on after, $5 undelivered up to, $6 check next, $7 limit.
// Ordered as the primary key is, with created_at bounded, so that older partitions are not touched.
const readStatement = `
with moment as materialized (${moment('$2')}),
box as materialized (select * from inboxes where user_id = $1),
start as materialized (select
  coalesce($3::int, (select delivered_seq from box), 0) as seq,
  coalesce(to_timestamp($4::float8 / 1000), (select delivered_created_at from box), 'epoch') as created_at)
select m.epoch, ${inboxColumns}, b.delivered_seq as "deliveredSeq", n.*, case when $6::bool then (
    select x.seq from notifications x
    where x.user_id = $1 and x.created_at >= (select created_at from start) and x.seq > (select seq from start)
      and x.created_at > m.cutoff
    order by x.created_at, x.seq limit 1) end as "nextSeq"
from moment m left join box b on true
left join lateral (
  select ${notificationColumns} from notifications n
  where n.user_id = $1 and n.created_at >= (select created_at from start) and n.seq > (select seq from start)
    and (n.delivered_at is null or n.seq > coalesce($5::int, b.last_seq))
    -- The counter saves a whole replay the search where nothing is undelivered.
    and ($3::int is not null or b.undelivered > 0)
    and ${visible}
  order by n.created_at, n.seq limit $7) n on true`

const headsStatement = `
select s.epoch, b.user_id as "userId", b.last_seq as seq, b.state_version::float8 as "stateVersion"
from carillon_state s left join inboxes b on b.user_id = any($1::text[])`

const watermarkStatement = `
update inboxes set delivered_seq = $2::int, delivered_created_at = to_timestamp($3::float8 / 1000)
where user_id = $1 and delivered_seq < $2::int`
