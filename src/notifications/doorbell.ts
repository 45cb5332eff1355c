// What rings when a commit changed an inbox. It carries the rows along, so that in the normal case nobody has to read
// them; it may be lost, doubled, late or out of order, and nothing breaks (subscribe.ts).
import type { InboxState, Notification } from './notification.ts'

export interface Doorbell {
  /** The inbox as that commit left it. */
  inbox: InboxState & Partial<Before>
  news: DoorbellNews
}

/** What received notifications follow upon. Nobody can tell a number that is given out again by the number itself. */
export interface Before {
  /** When the one before them was created; null where there is none. */
  createdAtBefore: number | null
}

/** Each `bumps` says how many state versions this doorbell covers, ending with `inbox.stateVersion`. */
export type DoorbellNews =
  /** New ones, in order of seq without a gap, the last being the head. */
  | { kind: 'received'; notifications: Notification[] }
  /** New ones up to the head, which this doorbell does not carry: whoever is connected reads them. */
  | { kind: 'appended' }
  /** Marked, unmarked, archived: the new states, at most `doorbellRowsMax`. */
  | { kind: 'updated'; notifications: Notification[]; bumps: number }
  /** Retracted or expired: at most `doorbellRowsMax`. */
  | { kind: 'removed'; ids: string[]; bumps: number }
  /** Too many for one doorbell, or counters only: fetch again. */
  | { kind: 'changed'; bumps: number }

/** The schema promises 100 at most in one event. */
export const doorbellRowsMax = 100

/** About what it takes in memory; most of it are texts. */
export function charactersOf({ news }: Doorbell): number {
  if (news.kind !== 'received' && news.kind !== 'updated') return 100
  return news.notifications.reduce(
    (sum, { title, body, data, url }) =>
      sum + 200 + title.length + (body?.length ?? 0) + (data?.length ?? 0) + (url?.length ?? 0),
    0,
  )
}

/**
 * The edge where one comes from another process, perhaps of another version: undefined for what is none of ours. Looks at
 * what decides where it goes; the rows are taken as they are, since only who holds the bus's password can ring.
 */
export function parseDoorbell(json: unknown): Doorbell | undefined {
  if (!isObject(json) || !isObject(json.inbox) || !isObject(json.news)) return undefined
  const { inbox, news } = json
  const isInbox =
    typeof inbox.userId === 'string' &&
    typeof inbox.epoch === 'string' &&
    [inbox.seq, inbox.createdAt, inbox.stateVersion, inbox.undelivered, inbox.unseen, inbox.unread].every(
      (number) => typeof number === 'number',
    )
  const isNews =
    news.kind === 'received'
      ? Array.isArray(news.notifications)
      : news.kind === 'appended' ||
        (typeof news.bumps === 'number' &&
          ((news.kind === 'updated' && Array.isArray(news.notifications)) ||
            (news.kind === 'removed' && Array.isArray(news.ids)) ||
            news.kind === 'changed'))
  // Checked just above, as far as it has to be.
  return isInbox && isNews ? (json as unknown as Doorbell) : undefined
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
