// What rings when a commit changed an inbox. It carries the rows along, so that in the normal case nobody has to read
// them; it may be lost, doubled, late or out of order, and nothing breaks (subscribe.ts).
import type { InboxState, Notification } from './notification.ts'

export interface Doorbell {
  /** The inbox as that commit left it. */
  inbox: InboxState
  news: DoorbellNews
}

/** Each `bumps` says how many state versions this doorbell covers, ending with `inbox.stateVersion`. */
export type DoorbellNews =
  /** New ones, in order of seq without a gap, the last being the head. */
  | { kind: 'received'; notifications: Notification[] }
  /** Marked, unmarked, archived: the new states, at most `doorbellRowsMax`. */
  | { kind: 'updated'; notifications: Notification[]; bumps: number }
  /** Retracted or expired: at most `doorbellRowsMax`. */
  | { kind: 'removed'; ids: string[]; bumps: number }
  /** Too many for one doorbell, or counters only: fetch again. */
  | { kind: 'changed'; bumps: number }

/** The schema promises 100 at most in one event. */
export const doorbellRowsMax = 100
