// What a notification and an inbox are inside the server: the shape in which rows leave the database (log.ts), ride in
// doorbells (doorbell.ts) and reach the resolvers. Instants are milliseconds since 1970; what is absent is null.

export type Priority = 'LOW' | 'NORMAL' | 'HIGH' | 'CRITICAL'

/** In the order in which the database numbers them, 0 to 3. */
export const priorities: readonly Priority[] = ['LOW', 'NORMAL', 'HIGH', 'CRITICAL']

/** What its sender says. */
export interface Content {
  userId: string
  category: string
  title: string
  body: string | null
  /** JSON text, keys in the order in which they came: parsed only where somebody selects it. */
  data: string | null
  url: string | null
  priority: Priority
  expiresAt: number | null
}

export interface Notification extends Content {
  id: string
  /** Position in the user's log, from 1, without gaps. */
  seq: number
  createdAt: number
  deliveredAt: number | null
  seenAt: number | null
  readAt: number | null
  archivedAt: number | null
  /** Of the log that it was read from; part of its cursor. */
  epoch: string
}

/** A user's inbox at one moment: the head of the log, the state version and the counters. Of nobody yet: all zero. */
export interface InboxState {
  userId: string
  /** Random, of the database: another epoch is another history (see `carillon rotate-epoch`). */
  epoch: string
  /** Of the newest notification; 0 while there is none. */
  seq: number
  /** Of the newest notification; 0 while there is none. */
  createdAt: number
  /** Counts changes to the states of notifications, since those have no seq. */
  stateVersion: number
  undelivered: number
  unseen: number
  unread: number
}

/** A place in a user's log. `stateVersion` is there in cursors of inbox events alone. */
export interface Position {
  seq: number
  createdAt: number
  stateVersion?: number
}
