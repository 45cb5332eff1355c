// What a subscription yields: the types behind the GraphQL interface InboxEvent. The stream `notifications` is the same
// one with only the first kind in it.
import type { InboxState, Notification } from './notification.ts'

interface Event {
  inbox: InboxState
  /** Where a client that has this event resumes. */
  cursor: string
}

export interface NotificationReceived extends Event {
  __typename: 'NotificationReceived'
  notification: Notification
  /** True where it was read from the log because it had been accepted before the subscription began. */
  replayed: boolean
}

export interface NotificationsUpdated extends Event {
  __typename: 'NotificationsUpdated'
  notifications: Notification[]
}

export interface NotificationsRemoved extends Event {
  __typename: 'NotificationsRemoved'
  ids: string[]
}

export interface CaughtUp extends Event {
  __typename: 'CaughtUp'
  stateChanged: boolean
}

export type InboxEvent = NotificationReceived | NotificationsUpdated | NotificationsRemoved | CaughtUp
