// A device that keeps a user's inbox in step by the stream `inboxEvents`, as the documentation tells its author to: it
// folds events over what it holds, and fetches the history where it is told to, and when it first starts.
import type { Counters, Held } from './inbox-model.ts'

export interface NotificationData {
  id: string
  seq: number
  cursor: string
  deliveredAt: string | null
  seenAt: string | null
  readAt: string | null
  archivedAt: string | null
}

export interface InboxEventData {
  __typename: 'NotificationReceived' | 'NotificationsUpdated' | 'NotificationsRemoved' | 'CaughtUp'
  cursor: string
  inbox: Counters
  notification?: NotificationData
  notifications?: NotificationData[]
  ids?: string[]
  stateChanged?: boolean
}

export const notificationFields = 'id seq cursor deliveredAt seenAt readAt archivedAt'
export const counterFields = 'undeliveredCount unseenCount unreadCount'
export const inboxEventsQuery = `subscription ($after: String) { inboxEvents(after: $after) {
  __typename cursor inbox { ${counterFields} }
  ... on NotificationReceived { notification { ${notificationFields} } }
  ... on NotificationsUpdated { notifications { ${notificationFields} } }
  ... on NotificationsRemoved { ids }
  ... on CaughtUp { stateChanged } } }`

export class InboxDevice {
  counters: Counters | undefined
  #held = new Map<string, Held>()
  readonly #fetchHistory: () => Promise<NotificationData[]>
  #hasStarted = false
  #folding = Promise.resolve()

  constructor(fetchHistory: () => Promise<NotificationData[]>) {
    this.#fetchHistory = fetchHistory
  }

  /** Oldest first. */
  get held(): Held[] {
    return [...this.#held.values()].sort((one, other) => one.seq - other.seq)
  }

  /** One after the other: a history that is being fetched is put in place before the next event is looked at. */
  fold(event: InboxEventData): void {
    this.#folding = this.#folding.then(() => this.#foldOne(event))
  }

  /** Once all that it was given is folded. */
  settled(): Promise<void> {
    return this.#folding
  }

  async #foldOne({ inbox, notification, notifications = [], ids = [], stateChanged }: InboxEventData): Promise<void> {
    this.counters = inbox
    for (const one of notification ? [notification] : notifications) this.#held.set(one.id, toHeld(one))
    for (const id of ids) this.#held.delete(id)
    if (stateChanged === undefined || (this.#hasStarted && !stateChanged)) return
    this.#hasStarted = true
    this.#held = new Map((await this.#fetchHistory()).map((one) => [one.id, toHeld(one)]))
  }
}

export function toHeld({ id, seq, deliveredAt, seenAt, readAt, archivedAt }: NotificationData): Held {
  return {
    id,
    seq,
    delivered: deliveredAt !== null,
    seen: seenAt !== null,
    read: readAt !== null,
    archived: archivedAt !== null,
  }
}
