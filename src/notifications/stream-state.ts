// Where one stream stands in its log, and what a doorbell or a page of the log means to it: which events follow, whether
// something is missing. No waiting and no reading here; that is subscription.ts.
import { CarillonError } from '../errors.ts'
import { type Cursors, cursorInvalid } from './cursor.ts'
import type { Doorbell } from './doorbell.ts'
import type { InboxEvent, NotificationReceived } from './events.ts'
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
  events: { push(event: InboxEvent): void }
}

/** What became of a doorbell: done with it; it has to wait for another before it; its rows have to be read; the log has to say whose it is. */
export type Taken = 'done' | 'early' | 'unread' | 'otherLog'

export class StreamState {
  readonly #kind: StreamKind
  readonly #cursors: Cursors
  readonly #events: StreamStateOptions['events']
  /** Null until the first page, where there was no cursor. */
  #epoch: string | null
  /** Everything up to this place has become an event, or never will; nobody knows where it is until the first page. */
  #isPlaced: boolean
  // Numbers of their own rather than objects: a delivery that leaves no young object behind in an old one costs the
  // garbage collector half (docs/BENCHMARKS.md).
  #seq = 0
  #createdAt = 0
  /** Up to this seq only undelivered ones; null until the first page says where the head is. */
  #undeliveredUpTo: number | null
  /** The state version that the client has been told of; undefined while its cursor has none. */
  #stateVersion: number | undefined
  /** Of the inbox when the stream began: what changes after that arrives as an event. */
  #versionAtStart: number | undefined
  /** The furthest head that anybody has told of. */
  #headSeq = 0
  #headVersion = 0
  /** As of when the last read began. */
  #headVersionBefore = 0
  #isCaughtUp = false
  /** The newest inbox that was told, where inboxes are: doorbells overtake each other, and counters must not step back. */
  #inbox: InboxState | undefined

  constructor({ kind, after, cursors, events }: StreamStateOptions) {
    this.#kind = kind
    this.#cursors = cursors
    this.#events = events
    this.#epoch = after?.epoch ?? null
    this.#isPlaced = after !== null
    if (after) this.#moveTo(after)
    this.#undeliveredUpTo = after ? 0 : null
    this.#stateVersion = after?.stateVersion
  }

  get epoch(): string | null {
    return this.#epoch
  }

  get seq(): number {
    return this.#seq
  }

  /** Whether the replay is over. */
  get isCaughtUp(): boolean {
    return this.#isCaughtUp
  }

  /** What to read next. What is told of the head from here on may be newer than what the page will say. */
  beginRead(): ReadOptions {
    this.#headVersionBefore = this.#headVersion
    this.#headSeq = 0
    this.#headVersion = 0
    const after = this.#isPlaced ? { seq: this.#seq, createdAt: this.#createdAt } : null
    return { after, undeliveredUpTo: this.#undeliveredUpTo, checkNext: this.#mustNotSkip }
  }

  /** True where somebody has told of more than has become events. */
  get hasGap(): boolean {
    return this.#headSeq > this.#seq || this.#isBeyond(this.#headVersion)
  }

  /**
   * Where the row after its place is past the retention time, the client has missed something: it comes back, or is live and
   * has been behind for so long. What passes that time in the middle of a replay is over.
   */
  get #mustNotSkip(): boolean {
    return this.#versionAtStart === undefined || this.#isCaughtUp
  }

  #isBeyond(stateVersion: number): boolean {
    return this.#kind === 'inboxEvents' && stateVersion > (this.#stateVersion ?? 0)
  }

  noteHead({ seq, stateVersion }: Head): void {
    if (seq > this.#headSeq) this.#headSeq = seq
    if (stateVersion > this.#headVersion) this.#headVersion = stateVersion
  }

  /**
   * True where this can't be a head of the log that was sent: a backup was restored, and its numbers are given out again.
   * Within one log `createdAt` never goes back.
   */
  contradicts({ seq, createdAt }: Head): boolean {
    if (createdAt === undefined || seq === 0 || seq > this.#seq) return false
    return seq === this.#seq ? createdAt !== this.#createdAt : createdAt > this.#createdAt
  }

  /** True where more changes of states have been told of than this head knows. */
  isAheadOf({ stateVersion }: Head): boolean {
    return this.#kind === 'inboxEvents' && (this.#stateVersion ?? 0) > stateVersion
  }

  takeDoorbell({ inbox, news }: Doorbell): Taken {
    if (inbox.epoch !== this.#epoch || this.contradicts(inbox)) return 'otherLog'
    if (news.kind === 'received') {
      const { notifications } = news
      const seq = this.seq
      const start = notifications.findIndex((notification) => notification.seq > seq)
      const first = notifications[start]
      if (!first) return 'done'
      if (first.seq !== seq + 1) return this.#isEarly(inbox)
      // One commit's are created at the same moment, so that the one before them may be one of them.
      const before = start > 0 ? inbox.createdAt : inbox.createdAtBefore
      if (seq > 0 && before !== this.#createdAt) return 'otherLog'
      for (let index = start; index < notifications.length; index++) {
        const notification = notifications[index]
        if (notification) this.#receive(notification, inbox)
      }
      return 'done'
    }
    if (news.kind === 'appended') {
      this.noteHead(inbox)
      return inbox.seq > this.seq ? 'unread' : 'done'
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
    this.#isPlaced = true
    this.#moveTo(upTo)
    if (!isComplete) return
    if (!this.#isCaughtUp) {
      this.#isCaughtUp = true
      const stateChanged = (this.#stateVersion ?? 0) !== this.#versionAtStart
      this.#stateVersion = this.#versionAtStart
      this.#tell({ __typename: 'CaughtUp', stateChanged }, inbox)
    } else if (this.#isBeyond(this.#headVersionBefore)) {
      // It was known before this read, and no doorbell has filled it since.
      this.#stateVersion = inbox.stateVersion
      this.#tell({ __typename: 'CaughtUp', stateChanged: true }, inbox)
    }
    this.noteHead(inbox)
  }

  #receive(notification: Notification, told: InboxState): void {
    this.#moveTo(notification)
    const inbox = this.#newest(told)
    this.#events.push(new Received(notification, !this.#isCaughtUp, inbox, this.#version, this.#cursors))
  }

  #tell(event: WithoutPlace<InboxEvent>, told: InboxState): void {
    if (this.#kind === 'notifications') return
    const inbox = this.#newest(told)
    const place = { seq: this.#seq, createdAt: this.#createdAt }
    this.#events.push(Object.assign(new Told(inbox, place, this.#version, this.#cursors), event))
  }

  #moveTo({ seq, createdAt }: Position): void {
    this.#seq = seq
    this.#createdAt = createdAt
  }

  #newest(told: InboxState): InboxState {
    if (this.#kind === 'notifications') return told
    if (!this.#inbox || !isNewer(this.#inbox, told)) this.#inbox = told
    return this.#inbox
  }

  /** That of the next cursor, which has none in a stream of notifications alone. */
  get #version(): number | undefined {
    return this.#kind === 'inboxEvents' ? this.#stateVersion : undefined
  }
}

/** What all events have. */
class Told {
  readonly inbox: InboxState
  readonly #place: Position
  readonly #stateVersion: number | undefined
  readonly #cursors: Cursors

  constructor(inbox: InboxState, place: Position, stateVersion: number | undefined, cursors: Cursors) {
    this.inbox = inbox
    this.#place = place
    this.#stateVersion = stateVersion
    this.#cursors = cursors
  }

  /** Signed when asked for: that costs some microseconds, and not everybody selects it. */
  get cursor(): string {
    const { seq, createdAt } = this.#place
    const { userId, epoch } = this.inbox
    const stateVersion = this.#stateVersion
    const position = stateVersion === undefined ? { seq, createdAt } : { seq, createdAt, stateVersion }
    return this.#cursors.encode(userId, epoch, position)
  }
}

/** The event that there are most of: made in one go. */
class Received extends Told implements NotificationReceived {
  readonly __typename = 'NotificationReceived'
  readonly notification: Notification
  readonly replayed: boolean

  constructor(
    notification: Notification,
    replayed: boolean,
    inbox: InboxState,
    stateVersion: number | undefined,
    cursors: Cursors,
  ) {
    super(inbox, notification, stateVersion, cursors)
    this.notification = notification
    this.replayed = replayed
  }
}

/** Each commit that changes an inbox raises one of the two, and none lowers either. */
const isNewer = (one: Head, other: Head) => one.seq + one.stateVersion > other.seq + other.stateVersion

type WithoutPlace<Event> = Event extends unknown ? Omit<Event, 'inbox' | 'cursor'> : never
