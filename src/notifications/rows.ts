// How rows leave the database: the select lists that every statement shares, the condition for a notification to be
// visible, and the way from a row to the types of notification.ts.
import { type InboxState, type Notification, priorities } from './notification.ts'

/** An instant as milliseconds since 1970; null stays null. */
export const milliseconds = (column: string) => `(extract(epoch from ${column}) * 1000)::float8`

/** The select list for a row of `notifications` named n. */
export const notificationColumns = `n.id, n.user_id as "userId", n.seq, n.category, n.title, n.body, n.data, n.url,
  n.priority, ${milliseconds('n.created_at')} as "createdAt", ${milliseconds('n.expires_at')} as "expiresAt",
  ${milliseconds('n.delivered_at')} as "deliveredAt", ${milliseconds('n.seen_at')} as "seenAt",
  ${milliseconds('n.read_at')} as "readAt", ${milliseconds('n.archived_at')} as "archivedAt"`

export interface NotificationRow extends Omit<Notification, 'priority' | 'epoch'> {
  priority: number
}

export function toNotification(row: NotificationRow, epoch: string): Notification {
  // Field by field, so that what a statement selects beside them does not ride along in a doorbell.
  return {
    id: row.id,
    userId: row.userId,
    seq: row.seq,
    category: row.category,
    title: row.title,
    body: row.body,
    data: row.data,
    url: row.url,
    priority: priorities[row.priority] ?? 'NORMAL',
    createdAt: row.createdAt,
    expiresAt: row.expiresAt,
    deliveredAt: row.deliveredAt,
    seenAt: row.seenAt,
    readAt: row.readAt,
    archivedAt: row.archivedAt,
    epoch,
  }
}

/** A row on the other side of a left join. */
export type Nullable<Row> = { [Column in keyof Row]: Row[Column] | null }

export function hasNotification<Row extends Nullable<NotificationRow>>(row: Row): row is Row & NotificationRow {
  return row.id !== null
}

/** The select list for a row of `inboxes` named b; its names collide with none of a notification's. */
export const inboxColumns = `b.last_seq as "lastSeq", ${milliseconds('b.last_created_at')} as "lastCreatedAt",
  b.state_version::float8 as "stateVersion", b.undelivered, b.unseen, b.unread`

export interface InboxRow {
  lastSeq: number
  lastCreatedAt: number
  stateVersion: number
  undelivered: number
  unseen: number
  unread: number
}

/** What no row answered, of a user nobody has sent to, is zero. */
export function toInbox(userId: string, epoch: string, row: Nullable<InboxRow>): InboxState {
  return {
    userId,
    epoch,
    seq: row.lastSeq ?? 0,
    createdAt: row.lastCreatedAt ?? 0,
    stateVersion: row.stateVersion ?? 0,
    undelivered: row.undelivered ?? 0,
    unseen: row.unseen ?? 0,
    unread: row.unread ?? 0,
  }
}

/** Milliseconds, as a placeholder or a number's text, as the columns hold instants. */
export const instant = (ms: string) => `to_timestamp(${ms}::float8 / 1000)::timestamptz(3)`

/**
 * On which side of a place in a log a row n is. Beside the pair, which the index is ordered by, stands the instant alone,
 * which the partitions are pruned by.
 */
export function within(side: '<' | '<=' | '>' | '>=', createdAt: string, seq: string): string {
  return `(n.created_at, n.seq) ${side} (${createdAt}, ${seq}) and n.created_at ${side.slice(0, 1)}= ${createdAt}`
}

/**
 * The body of the common table expression `moment`, which `visible` needs and which holds the epoch too.
 * `retentionMs` is a placeholder such as `$2`, or a number's text. The limit tells the planner that there is one row.
 */
export const moment = (retentionMs: string) =>
  `select epoch, greatest(now() - ${retentionMs}::float8 * interval '1 millisecond', retained_from) as cutoff
  from carillon_state limit 1`

/**
 * True for a notification n that its user may see: not retracted, not expired, not past the retention time. The cutoff is
 * a scalar subquery, so that the executor prunes the partitions before it.
 */
export const visible = `n.retracted_at is null and (n.expires_at is null or n.expires_at > now())
  and n.created_at > (select cutoff from moment)`
