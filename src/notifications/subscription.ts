// One subscription: a cursor over a user's log. It replays from the cursor, then lives from doorbells as long as each is
// the next one, and whenever anything is amiss (a doorbell missing, too many waiting, the head elsewhere) it reads the
// log from its cursor again. In order of seq, none missing, none twice. Started by subscribe.ts.
//
// Written by hand, not as an async generator: there, return() would queue behind a next() that waits for a notification.
import { Mailbox } from '../bus/mailbox.ts'
import { CarillonError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import type { Metrics } from '../metrics.ts'
import { isTransient } from '../postgres.ts'
import { type Cursors, cursorInvalid } from './cursor.ts'
import type { Doorbell } from './doorbell.ts'
import type { InboxEvent } from './events.ts'
import type { Head, Log, LogPage } from './log.ts'
import type { InboxState, Notification, Position } from './notification.ts'
import { Outlet } from './outlet.ts'

/** Doorbells and characters that wait for a slow reader, beyond which it reads the log instead. */
export const mailboxDoorbellsMax = 256
export const mailboxCharactersMax = 512 * 1024
/** How long a missing doorbell may be on its way before the log is read: doorbells of two senders overtake each other. */
export const gapWaitMs = 50
/** Between attempts to read the log while the database is away; doubled up to the maximum, with jitter. */
export const readRetryMinMs = 100
export const readRetryMaxMs = 5_000

/** `notifications` is the stream of notifications alone; it takes no notice of state versions. */
export type StreamKind = 'notifications' | 'inboxEvents'

export interface SubscriptionOptions {
  userId: string
  kind: StreamKind
  /** Null: before the first undelivered one. */
  after: (Position & { epoch: string }) | null
  /** With it, the transport is asked to confirm what has reached the client; called once an event, in order. */
  onConfirmed?: ((notification: Notification) => void) | undefined
  log: Log
  cursors: Cursors
  metrics: Metrics
  logger: Logger
}

type HealCause = 'gap' | 'tail' | 'overflow' | 'distrust'

export class Subscription implements AsyncIterableIterator<InboxEvent> {
  readonly userId: string
  readonly #options: SubscriptionOptions
  readonly #mailbox = new Mailbox<Doorbell>({
    messagesMax: mailboxDoorbellsMax,
    weightMax: mailboxCharactersMax,
    weigh: charactersOf,
  })
  readonly #outlet = new Outlet<InboxEvent>({
    onPull: () => this.#pump(),
    // It may have waited for a slow reader.
    isStale: (event) => event.__typename === 'NotificationReceived' && isExpired(event.notification),
  })
  /** The place in the log up to which everything is in the outlet; null before the first read. */
  #position: Position | null
  #epoch: string | null
  /** Up to this seq only undelivered ones; null until the first read says where the head is. */
  #undeliveredUpTo: number | null
  /** The state version that the client has been told of; undefined with a cursor that has none. */
  #stateVersion: number | undefined
  /** Of the inbox when the subscription began: what changes after that arrives as an event. */
  #versionAtStart: number | undefined
  /** The furthest head that anybody has told of. */
  #head: Head = { seq: 0, stateVersion: 0 }
  #isCaughtUp = false
  #isBehind = true
  #isReading = false
  #healCause: HealCause = 'gap'
  #gapTimer: NodeJS.Timeout | undefined
  #failure: { error: unknown } | undefined
  #isClosed = false
  #releases: (() => void)[] = []
  #readRetryMs = readRetryMinMs

  constructor(options: SubscriptionOptions) {
    this.#options = options
    this.userId = options.userId
    this.#position = options.after
    this.#epoch = options.after?.epoch ?? null
    this.#undeliveredUpTo = options.after ? 0 : null
    this.#stateVersion = options.after?.stateVersion
  }

  get seq(): number {
    return this.#position?.seq ?? 0
  }

  /** Whether the transport is to call `confirmed`. */
  get wantsConfirmation(): boolean {
    return this.#options.onConfirmed !== undefined
  }

  /** The event has reached the client: over WebSocket a ping behind it was answered, over SSE it was written. */
  confirmed(event: InboxEvent): void {
    if (event.__typename === 'NotificationReceived') this.#options.onConfirmed?.(event.notification)
  }

  /** Run once, when it ends for whatever reason. */
  onEnd(release: () => void): void {
    if (this.#isClosed) release()
    else this.#releases.push(release)
  }

  /** The first read. Fails for good with CURSOR_INVALID or CURSOR_EXPIRED; what may pass is tried again by next(). */
  async start(): Promise<void> {
    this.#isReading = true
    await this.#read()
    this.#isReading = false
    if (this.#failure) throw this.#failure.error
    this.#pump()
  }

  /** A doorbell has rung. */
  readonly ring = (doorbell: Doorbell): void => {
    if (this.#isClosed) return
    if (doorbell.inbox.epoch === this.#epoch) this.#noteHead(doorbell.inbox)
    const isWanted = doorbell.news.kind === 'received' || this.#options.kind === 'inboxEvents'
    if (isWanted && !this.#mailbox.push(doorbell)) {
      this.#options.metrics.slowConsumers.inc()
      this.#fallBehind('overflow')
    }
    this.#pump()
  }

  heard(head: Head & { epoch: string }, cause: HealCause): void {
    if (this.#isClosed || this.#epoch === null) return
    if (head.epoch !== this.#epoch) return this.distrust()
    this.#noteHead(head)
    if (this.#hasGap()) this.#healCause = cause
    this.#pump()
  }

  distrust(): void {
    this.#fallBehind('distrust')
    this.#pump()
  }

  next(): Promise<IteratorResult<InboxEvent, undefined>> {
    return this.#outlet.next()
  }

  /** Ends it at once, and with it every next() that waits. */
  return(): Promise<IteratorResult<InboxEvent, undefined>> {
    this.#end()
    return Promise.resolve({ value: undefined, done: true })
  }

  throw(error: unknown): Promise<IteratorResult<InboxEvent, undefined>> {
    this.#end()
    return Promise.reject(error)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** Does all that can be done now; called after everything that happens. */
  #pump(): void {
    while (!this.#isClosed && !this.#isReading && this.#outlet.isWanting) {
      if (this.#failure) return this.#end(this.#failure)
      if (this.#isBehind) {
        this.#isReading = true
        void this.#read().finally(() => {
          this.#isReading = false
          this.#pump()
        })
        return
      }
      this.#mailbox.drain((doorbell) => this.#take(doorbell))
      if (this.#outlet.isWanting && !this.#isBehind) return this.#watchGap()
    }
  }

  /** True where the doorbell is done with: taken over, or old. */
  #take({ inbox, news }: Doorbell): boolean {
    if (inbox.epoch !== this.#epoch) {
      // A belated one from before a restore, or the first after it: the log itself says which.
      this.#fallBehind('distrust')
      return true
    }
    if (news.kind === 'received') {
      const fresh = news.notifications.filter(({ seq }) => seq > this.seq)
      if (fresh[0] && fresh[0].seq !== this.seq + 1) return false
      for (const notification of fresh) this.#receive(notification, inbox)
      return true
    }
    const version = this.#stateVersion ?? 0
    if (inbox.stateVersion <= version) return true
    if (inbox.seq > this.seq || inbox.stateVersion - news.bumps > version) return false
    this.#stateVersion = inbox.stateVersion
    if (news.kind === 'changed') this.#tellCaughtUp(true, inbox)
    else if (news.kind === 'removed') this.#tell({ __typename: 'NotificationsRemoved', ids: news.ids }, inbox)
    else this.#tell({ __typename: 'NotificationsUpdated', notifications: news.notifications }, inbox)
    return true
  }

  #receive(notification: Notification, inbox: InboxState): void {
    this.#position = { seq: notification.seq, createdAt: notification.createdAt }
    this.#tell({ __typename: 'NotificationReceived', notification, replayed: !this.#isCaughtUp }, inbox)
  }

  #tellCaughtUp(stateChanged: boolean, inbox: InboxState): void {
    this.#tell({ __typename: 'CaughtUp', stateChanged }, inbox)
  }

  #tell(event: DistributiveOmit<InboxEvent, 'inbox' | 'cursor'>, inbox: InboxState): void {
    const { kind, cursors } = this.#options
    if (kind === 'notifications' && event.__typename !== 'NotificationReceived') return
    const { epoch } = inbox
    const position = { ...(this.#position ?? { seq: 0, createdAt: 0 }) }
    const stateVersion = kind === 'inboxEvents' ? this.#stateVersion : undefined
    this.#outlet.push({
      ...event,
      inbox,
      // Signing costs some microseconds, and not everybody selects it.
      get cursor() {
        return cursors.encode(
          inbox.userId,
          epoch,
          stateVersion === undefined ? position : { ...position, stateVersion },
        )
      },
    })
  }

  /** Never rejects: what is final becomes `#failure`, and what may pass is tried again. */
  async #read(): Promise<void> {
    const { log, userId, logger } = this.#options
    try {
      const page = await log.read(userId, {
        after: this.#position,
        undeliveredUpTo: this.#undeliveredUpTo,
        checkNext: !this.#isCaughtUp,
      })
      if (this.#isClosed) return
      this.#readRetryMs = readRetryMinMs
      this.#takePage(page)
    } catch (error) {
      if (error instanceof CarillonError || !isTransient(error)) {
        this.#failure = { error }
        return
      }
      logger.warn({ err: error }, 'a subscription could not read its log and tries again')
      await this.#waitToRetry()
    }
  }

  #takePage({ inbox, notifications, upTo, isComplete, isNextThere }: LogPage): void {
    this.#epoch ??= inbox.epoch
    // Another history, or one that knows less than was sent: what the client holds is of no use any more.
    if (inbox.epoch !== this.#epoch || inbox.seq < this.seq) throw cursorInvalid()
    if (!isNextThere && !this.#isCaughtUp) {
      throw new CarillonError('CURSOR_EXPIRED', 'the notification after this cursor is past the retention time')
    }
    this.#beginAt(inbox)
    for (const notification of notifications) this.#receive(notification, inbox)
    this.#position = upTo
    const { metrics } = this.#options
    if (this.#isCaughtUp) metrics.gapHeals.inc({ cause: this.#healCause })
    else metrics.replayed.inc(notifications.length)
    if (!isComplete) return
    this.#isBehind = false
    this.#healCause = 'gap'
    if (!this.#isCaughtUp) {
      this.#isCaughtUp = true
      const versionTold = this.#stateVersion ?? 0
      this.#stateVersion = this.#versionAtStart
      this.#tellCaughtUp(versionTold !== this.#versionAtStart, inbox)
    } else if (this.#hasVersionGap()) {
      // It was known before this read, so no doorbell will fill it any more.
      this.#stateVersion = inbox.stateVersion
      this.#tellCaughtUp(true, inbox)
    }
    this.#head = { seq: inbox.seq, stateVersion: inbox.stateVersion }
  }

  /** What the first read says about the moment at which the subscription began. */
  #beginAt(inbox: InboxState): void {
    this.#versionAtStart ??= inbox.stateVersion
    if (this.#undeliveredUpTo !== null) return
    this.#undeliveredUpTo = inbox.seq
    // Without a cursor the client knows nothing of before, so nothing has changed for it.
    this.#stateVersion = inbox.stateVersion
  }

  #noteHead({ seq, stateVersion }: Head): void {
    this.#head = {
      seq: Math.max(this.#head.seq, seq),
      stateVersion: Math.max(this.#head.stateVersion, stateVersion),
    }
  }

  #hasGap(): boolean {
    return this.#head.seq > this.seq || this.#hasVersionGap()
  }

  #hasVersionGap(): boolean {
    return this.#options.kind === 'inboxEvents' && this.#head.stateVersion > (this.#stateVersion ?? 0)
  }

  /** The missing doorbell gets a moment to arrive. */
  #watchGap(): void {
    if (!this.#hasGap()) {
      clearTimeout(this.#gapTimer)
      this.#gapTimer = undefined
    } else {
      this.#gapTimer ??= setTimeout(() => {
        this.#gapTimer = undefined
        if (!this.#hasGap()) return
        this.#fallBehind(this.#healCause)
        this.#pump()
      }, gapWaitMs)
    }
  }

  #fallBehind(cause: HealCause): void {
    if (!this.#isBehind) this.#healCause = cause
    this.#isBehind = true
  }

  #waitToRetry(): Promise<void> {
    const delayMs = this.#readRetryMs * (0.5 + Math.random() / 2)
    this.#readRetryMs = Math.min(this.#readRetryMs * 2, readRetryMaxMs)
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, delayMs)
      this.onEnd(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  #end(failure?: { error: unknown }): void {
    if (this.#isClosed) return
    this.#isClosed = true
    clearTimeout(this.#gapTimer)
    this.#mailbox.clear()
    this.#outlet.end(failure)
    for (const release of this.#releases.splice(0)) release()
  }
}

type DistributiveOmit<Type, Key extends PropertyKey> = Type extends unknown ? Omit<Type, Key> : never

const isExpired = ({ expiresAt }: Notification) => expiresAt !== null && expiresAt <= Date.now()

/** About what it holds in memory; most of it in texts. */
function charactersOf({ news }: Doorbell): number {
  if (news.kind !== 'received' && news.kind !== 'updated') return 100
  return news.notifications.reduce(
    (sum, { title, body, data, url }) =>
      sum + 200 + title.length + (body?.length ?? 0) + (data?.length ?? 0) + (url?.length ?? 0),
    0,
  )
}
