// Where one stream stands in its log, and what a doorbell or a page of the log means to it: which events follow, whether
// something is missing. No waiting and no reading here; that is subscription.ts.
import { CarillonError } from '../errors.ts'
import { type Cursors, cursorInvalid } from './cursor.ts'
import type { Doorbell } from './doorbell.ts'
import type { InboxEvent } from './events.ts'
import type { Head, LogPage, ReadOptions } from './log.ts'
import type { InboxState, Notification, Position } from './notification.ts'

/** `notifications` is the stream of notifications alone; it takes no notice of state versions. */
export type StreamKind = 'notifications' | 'inboxEvents'

export interface StreamStateOptions {
  kind: StreamKind
  /** Null: before the first undelivered one. */
  after: (Position & { epoch: string }) | null
  cursors: Cursors
  /** Takes the events, in order. */
  onEvent(event: InboxEvent): void
}

/** What became of a doorbell: done with it; it has to wait for another before it; the log has to say whose it is. */
export type Taken = 'done' | 'early' | 'otherLog'

export class StreamState {
  readonly #options: StreamStateOptions
  /** Null until the first page, where there was no cursor. */
  #epoch: string | null
  /** Everything up to here has become an event, or never will. */
  #position: Position | null
  /** Up to this seq only undelivered ones; null until the first page says where the head is. */
  #undeliveredUpTo: number | null
  /** The state version that the client has been told of; undefined while its cursor has none. */
  #stateVersion: number | undefined
  /** Of the inbox when the stream began: what changes after that arrives as an event. */
  #versionAtStart: number | undefined
  /** The furthest head that anybody has told of. */
  #head: Head = { seq: 0, stateVersion: 0 }
  /** As of when the last read began. */
  #headBefore: Head = { seq: 0, stateVersion: 0 }
  #isCaughtUp = false
  /** The newest inbox that was told: doorbells overtake each other, and counters must not step back. */
  #inbox: InboxState | undefined

  constructor(options: StreamStateOptions) {
    this.#options = options
    const { after } = options
    this.#epoch = after?.epoch ?? null
    this.#position = after
    this.#undeliveredUpTo = after ? 0 : null
    this.#stateVersion = after?.stateVersion
  }

  get epoch(): string | null {
    return this.#epoch
  }

  get seq(): number {
    return this.#position?.seq ?? 0
  }

  /** Whether the replay is over. */
  get isCaughtUp(): boolean {
    return this.#isCaughtUp
  }

  /** What to read next. What is told of the head from here on may be newer than what the page will say. */
  beginRead(): ReadOptions {
    this.#headBefore = this.#head
    this.#head = { seq: 0, stateVersion: 0 }
    return { after: this.#position, undeliveredUpTo: this.#undeliveredUpTo, checkNext: this.#mustNotSkip }
  }

  /** True where somebody has told of more than has become events. */
  get hasGap(): boolean {
    return this.#head.seq > this.seq || this.#isBeyond(this.#head.stateVersion)
  }

  /**
   * Where the row after its place is past the retention time, the client has missed something: it comes back, or is live and
   * has been behind for so long. What passes that time in the middle of a replay is over.
   */
  get #mustNotSkip(): boolean {
    return this.#versionAtStart === undefined || this.#isCaughtUp
  }

  #isBeyond(stateVersion: number): boolean {
    return this.#options.kind === 'inboxEvents' && stateVersion > (this.#stateVersion ?? 0)
  }

  noteHead({ seq, stateVersion }: Head): void {
    this.#head = {
      seq: Math.max(this.#head.seq, seq),
      stateVersion: Math.max(this.#head.stateVersion, stateVersion),
    }
  }

  /**
   * True where this can't be a head of the log that was sent: a backup was restored, and its numbers are given out again.
   * Within one log `createdAt` never goes back.
   */
  contradicts({ seq, createdAt }: Head): boolean {
    const position = this.#position
    if (!position || createdAt === undefined || seq === 0 || seq > position.seq) return false
    return seq === position.seq ? createdAt !== position.createdAt : createdAt > position.createdAt
  }

  /** True where more changes of states have been told of than this head knows. */
  isAheadOf({ stateVersion }: Head): boolean {
    return this.#options.kind === 'inboxEvents' && (this.#stateVersion ?? 0) > stateVersion
  }

  takeDoorbell({ inbox, news }: Doorbell): Taken {
    if (inbox.epoch !== this.#epoch || this.contradicts(inbox)) return 'otherLog'
    if (news.kind === 'received') {
      const fresh = news.notifications.filter(({ seq }) => seq > this.seq)
      if (fresh[0] && fresh[0].seq !== this.seq + 1) return this.#isEarly(inbox)
      // One commit's are created at the same moment, so that the one before them may be one of them.
      const before = fresh.length < news.notifications.length ? inbox.createdAt : inbox.createdAtBefore
      if (fresh[0] && this.#position?.seq && before !== this.#position.createdAt) return 'otherLog'
      for (const notification of fresh) this.#receive(notification, inbox)
      return 'done'
    }
    const version = this.#stateVersion ?? 0
    if (inbox.stateVersion <= version) return 'done'
    if (inbox.seq > this.seq || inbox.stateVersion - news.bumps > version) return this.#isEarly(inbox)
    this.#stateVersion = inbox.stateVersion
    if (news.kind === 'changed') this.#tell({ __typename: 'CaughtUp', stateChanged: true }, inbox)
    else if (news.kind === 'removed') this.#tell({ __typename: 'NotificationsRemoved', ids: news.ids }, inbox)
    else this.#tell({ __typename: 'NotificationsUpdated', notifications: news.notifications }, inbox)
    return 'done'
  }

  /** What is before it is missing, also where it rang when nobody knew yet what it was a doorbell of. */
  #isEarly(inbox: InboxState): Taken {
    this.noteHead(inbox)
    return 'early'
  }

  /** Fails with CURSOR_INVALID or CURSOR_EXPIRED. */
  takePage({ inbox, notifications, upTo, isComplete, isSameLog, isNextThere }: LogPage): void {
    this.#epoch ??= inbox.epoch
    // Another history, or one that knows less than was sent: what the client holds is of no use any more.
    const isOther = inbox.epoch !== this.#epoch || !isSameLog
    if (isOther || inbox.seq < this.seq || this.isAheadOf(inbox)) throw cursorInvalid()
    if (!isNextThere && this.#mustNotSkip) {
      throw new CarillonError('CURSOR_EXPIRED', 'the notification after this cursor is past the retention time')
    }
    this.#versionAtStart ??= inbox.stateVersion
    if (this.#undeliveredUpTo === null) {
      this.#undeliveredUpTo = inbox.seq
      // Without a cursor the client knows nothing of before, so that nothing has changed for it.
      this.#stateVersion = inbox.stateVersion
    }
    for (const notification of notifications) this.#receive(notification, inbox)
    this.#position = upTo
    if (!isComplete) return
    if (!this.#isCaughtUp) {
      this.#isCaughtUp = true
      const stateChanged = (this.#stateVersion ?? 0) !== this.#versionAtStart
      this.#stateVersion = this.#versionAtStart
      this.#tell({ __typename: 'CaughtUp', stateChanged }, inbox)
    } else if (this.#isBeyond(this.#headBefore.stateVersion)) {
      // It was known before this read, and no doorbell has filled it since.
      this.#stateVersion = inbox.stateVersion
      this.#tell({ __typename: 'CaughtUp', stateChanged: true }, inbox)
    }
    this.noteHead(inbox)
  }

  #receive(notification: Notification, inbox: InboxState): void {
    this.#position = { seq: notification.seq, createdAt: notification.createdAt }
    this.#tell({ __typename: 'NotificationReceived', notification, replayed: !this.#isCaughtUp }, inbox)
  }

  #tell(event: WithoutPlace<InboxEvent>, told: InboxState): void {
    const { kind, cursors, onEvent } = this.#options
    if (kind === 'notifications' && event.__typename !== 'NotificationReceived') return
    const inbox = this.#inbox && isNewer(this.#inbox, told) ? this.#inbox : told
    this.#inbox = inbox
    const { seq, createdAt } = this.#position ?? inbox
    const stateVersion = kind === 'inboxEvents' ? this.#stateVersion : undefined
    const position = stateVersion === undefined ? { seq, createdAt } : { seq, createdAt, stateVersion }
    onEvent(Object.assign(new Told(inbox, position, cursors), event))
  }
}

/** What all events have. */
class Told {
  readonly inbox: InboxState
  readonly #position: Position
  readonly #cursors: Cursors

  constructor(inbox: InboxState, position: Position, cursors: Cursors) {
    this.inbox = inbox
    this.#position = position
    this.#cursors = cursors
  }

  /** Signed when asked for: that costs some microseconds, and not everybody selects it. */
  get cursor(): string {
    return this.#cursors.encode(this.inbox.userId, this.inbox.epoch, this.#position)
  }
}

/** Each commit that changes an inbox raises one of the two, and none lowers either. */
const isNewer = (one: Head, other: Head) => one.seq + one.stateVersion > other.seq + other.stateVersion

type WithoutPlace<Event> = Event extends unknown ? Omit<Event, 'inbox' | 'cursor'> : never
