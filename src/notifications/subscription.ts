// One subscription: a cursor over a user's log. It replays from the cursor, then lives from doorbells as long as each is
// the next one, and whenever anything is amiss (a doorbell missing, too many waiting, the head elsewhere) it reads the
// log from its cursor again. In order of seq, none missing, none twice. What a doorbell or a page means: stream-state.ts.
import { Mailbox } from '../bus/mailbox.ts'
import type { Clock } from '../clock.ts'
import { CarillonError } from '../errors.ts'
import type { Metrics } from '../metrics.ts'
import { isTransient } from '../postgres.ts'
import type { Cursors } from './cursor.ts'
import { charactersOf, type Doorbell } from './doorbell.ts'
import type { InboxEvent } from './events.ts'
import type { Head, LogPage, ReadOptions } from './log.ts'
import { type LogReads, type Reader, unreadable } from './log-reads.ts'
import type { Notification, Position } from './notification.ts'
import { Outlet, type OutletOwner, type OutletSink } from './outlet.ts'
import { type StreamKind, StreamState } from './stream-state.ts'

/** Doorbells and characters that wait for a slow reader, beyond which it reads the log instead. */
export const mailboxDoorbellsMax = 256
export const mailboxCharactersMax = 512 * 1024
/** How long a missing doorbell may be on its way before the log is read: doorbells of two senders overtake each other. */
export const gapWaitMs = 50
/** Between attempts to read the log while the database is away; doubled up to the maximum, and down to half at random. */
export const readRetryMinMs = 100
export const readRetryMaxMs = 5_000

export interface SubscriptionOptions {
  userId: string
  kind: StreamKind
  /** Null: before the first undelivered one. */
  after: (Position & { epoch: string }) | null
  /** With it, the transport is asked to confirm what has reached the client; called once an event, in order. */
  onConfirmed?: ((notification: Notification) => void) | undefined
}

/** What all subscriptions share. */
export interface SubscriptionTools {
  logReads: LogReads
  cursors: Cursors
  clock: Clock
  metrics: Metrics
  /** The log could not be read for now; it is tried again. */
  onReadFailed(error: unknown): void
}

/** Only what was `announced` by a doorbell without rows is nothing to heal. */
type ReadCause = 'announced' | 'wait' | 'gap' | 'tail' | 'overflow' | 'distrust'

const mailboxLimits = { messagesMax: mailboxDoorbellsMax, weightMax: mailboxCharactersMax, weigh: charactersOf }

export class Subscription implements AsyncIterableIterator<InboxEvent>, OutletOwner<InboxEvent>, Reader {
  readonly userId: string
  readonly #kind: StreamKind
  readonly #onConfirmed: ((notification: Notification) => void) | undefined
  readonly #tools: SubscriptionTools
  readonly #state: StreamState
  readonly #mailbox = new Mailbox<Doorbell>(mailboxLimits)
  readonly #outlet: Outlet<InboxEvent>
  /** The log has to be read before anything else. */
  #isBehind = true
  #isReading = false
  #healCause: ReadCause = 'gap'
  /** Of the read that is under way. */
  #readCause: ReadCause = 'gap'
  #gapTimer: NodeJS.Timeout | undefined
  #readRetryMs = readRetryMinMs
  #wakeRetry: (() => void) | undefined
  #failure: { error: unknown } | undefined
  #isClosed = false
  #release: () => void = () => {}

  constructor({ userId, kind, after, onConfirmed }: SubscriptionOptions, tools: SubscriptionTools) {
    this.userId = userId
    this.#kind = kind
    this.#onConfirmed = onConfirmed
    this.#tools = tools
    this.#outlet = new Outlet(this)
    this.#state = new StreamState({ kind, after, cursors: tools.cursors, events: this.#outlet })
  }

  /** The last seq that it has taken over from the log. */
  get seq(): number {
    return this.#state.seq
  }

  /** Whether the transport is to call `confirmed`. */
  get wantsConfirmation(): boolean {
    return this.#onConfirmed !== undefined
  }

  /** The event has reached the client: over WebSocket a ping behind it was answered, over SSE it was written. */
  confirmed(event: InboxEvent): void {
    if (event.__typename === 'NotificationReceived') this.#onConfirmed?.(event.notification)
  }

  /** Run once, when it ends for whatever reason. */
  onEnd(release: () => void): void {
    this.#release = release
  }

  /** The first read. Fails with CURSOR_INVALID or CURSOR_EXPIRED, and with UNAVAILABLE where it may succeed later. */
  async start(): Promise<void> {
    this.#isReading = true
    try {
      await this.#readPage()
    } catch (error) {
      throw isTransient(error) ? unreadable(error) : error
    } finally {
      this.#isReading = false
    }
  }

  /** A doorbell has rung. */
  readonly ring = (doorbell: Doorbell): void => {
    if (this.#isClosed) return
    const { inbox, news } = doorbell
    if (inbox.epoch === this.#state.epoch) this.#state.noteHead(inbox)
    const isWanted = news.kind === 'received' || news.kind === 'appended' || this.#kind === 'inboxEvents'
    // As a rule it is the next one and somebody waits for it.
    if (isWanted && !(this.#isLive && this.#mailbox.isEmpty && this.#take(doorbell))) this.#keep(doorbell)
    this.#pump()
  }

  /** The database has this head: the tail check says so. */
  heard(head: Head, epoch: string): void {
    if (this.#isClosed || this.#state.epoch === null) return
    // One that is behind may have been asked for before a doorbell rang: the log itself has to say.
    if (epoch === this.#state.epoch && !this.#state.contradicts(head) && !this.#state.isAheadOf(head)) {
      this.#state.noteHead(head)
      // As a rule it knows, and there is nothing to do.
      if (!this.#state.hasGap) return
      this.#healCause = 'tail'
    } else {
      this.#fallBehind('distrust')
    }
    this.#pump()
  }

  /** The database knows less than was sent: the log itself has to say. */
  distrust(): void {
    this.#fallBehind('distrust')
    this.#pump()
  }

  next(): Promise<IteratorResult<InboxEvent, undefined>> {
    return this.#outlet.next()
  }

  /** Instead of `next()`: hands events to the sink while it has room. Resolves at the end, or rejects with the failure. */
  pushTo(sink: OutletSink<InboxEvent>): Promise<void> {
    return this.#outlet.pushTo(sink)
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

  /** The outlet's: somebody asks for more. */
  pulled(): void {
    this.#pump()
  }

  /** The outlet's: the event may have waited for a slow reader. */
  isStale(event: InboxEvent): boolean {
    if (event.__typename !== 'NotificationReceived') return false
    const { expiresAt } = event.notification
    return expiresAt !== null && expiresAt <= this.#tools.clock.now()
  }

  /** The outlet's: an event could not be taken. */
  sinkFailed(error: unknown): void {
    this.#end({ error })
  }

  /** The log reads': before anything is read. What puts it behind from here on, such as an overflow, is not in the page. */
  beginRead(): ReadOptions {
    this.#isBehind = false
    this.#readCause = this.#healCause
    this.#healCause = 'gap'
    this.#forgetGap()
    return this.#state.beginRead()
  }

  /** Does all that can be done now, if somebody wants it; called after everything that happens. */
  #pump(): void {
    while (!this.#isClosed && !this.#isReading && this.#outlet.isWanting) {
      if (this.#failure) {
        this.#end(this.#failure)
      } else if (this.#isBehind) {
        this.#isReading = true
        void this.#read().finally(() => {
          this.#isReading = false
          this.#pump()
        })
      } else {
        if (!this.#mailbox.isEmpty) this.#mailbox.drain((doorbell) => this.#take(doorbell))
        if (this.#isBehind || !this.#outlet.isWanting) continue
        this.#watchGap()
        return
      }
    }
  }

  /** A doorbell that comes now is the only thing to look at. */
  get #isLive(): boolean {
    return !this.#isBehind && !this.#isReading && this.#failure === undefined && this.#outlet.isWanting
  }

  #keep(doorbell: Doorbell): void {
    if (this.#mailbox.push(doorbell)) return
    this.#tools.metrics.slowConsumers.inc()
    this.#fallBehind('overflow')
  }

  /** True where the doorbell is done with. */
  #take(doorbell: Doorbell): boolean {
    const taken = this.#state.takeDoorbell(doorbell)
    // A belated one from before a restore, one after it, or one that can't say what it follows upon: the log can.
    if (taken === 'otherLog') this.#fallBehind('distrust')
    if (taken === 'unread') this.#fallBehind('announced')
    return taken !== 'early'
  }

  /** Never rejects: what is final becomes `#failure`, and what may pass is tried again after a while. */
  async #read(): Promise<void> {
    try {
      await this.#readPage()
    } catch (error) {
      if (!isTransient(error) && !isUnavailable(error)) {
        this.#failure = { error }
        return
      }
      this.#tools.onReadFailed(error)
      await this.#waitToRetry()
    }
  }

  /** In its turn; not at all where it ends while it waits. Fails with UNAVAILABLE where the database is silent. */
  async #readPage(): Promise<void> {
    const { logReads } = this.#tools
    if (this.#isClosed) return
    try {
      const page = await logReads.read(this)
      if (page && !this.#isClosed) this.#takePage(page)
    } catch (error) {
      this.#fallBehind(this.#readCause)
      throw error
    }
  }

  #takePage(page: LogPage): void {
    const { metrics } = this.#tools
    this.#readRetryMs = readRetryMinMs
    if (!this.#state.isCaughtUp) metrics.replayed.inc(page.notifications.length)
    else if (this.#readCause !== 'announced') metrics.gapHeals.inc({ cause: this.#readCause })
    this.#state.takePage(page)
    if (!page.isComplete) this.#fallBehind(this.#readCause)
  }

  /** The missing doorbell gets a moment to arrive. */
  #watchGap(): void {
    if (!this.#state.hasGap) {
      // It came, and nothing had to be read.
      if (this.#gapTimer !== undefined) this.#tools.metrics.gapHeals.inc({ cause: 'wait' })
      this.#forgetGap()
      return
    }
    this.#gapTimer ??= setTimeout(() => {
      this.#gapTimer = undefined
      if (this.#state.hasGap) this.#fallBehind(this.#healCause)
      this.#pump()
    }, gapWaitMs)
  }

  #forgetGap(): void {
    if (this.#gapTimer === undefined) return
    clearTimeout(this.#gapTimer)
    this.#gapTimer = undefined
  }

  #fallBehind(cause: ReadCause): void {
    if (!this.#isBehind) this.#healCause = cause
    this.#isBehind = true
  }

  #waitToRetry(): Promise<void> {
    const delayMs = this.#readRetryMs * (0.5 + Math.random() / 2)
    this.#readRetryMs = Math.min(this.#readRetryMs * 2, readRetryMaxMs)
    if (this.#isClosed) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, delayMs)
      this.#wakeRetry = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  #end(failure?: { error: unknown }): void {
    if (this.#isClosed) return
    this.#isClosed = true
    clearTimeout(this.#gapTimer)
    this.#mailbox.clear()
    this.#outlet.end(failure)
    this.#tools.logReads.cancel(this)
    this.#wakeRetry?.()
    this.#release()
  }
}

const isUnavailable = (error: unknown) => error instanceof CarillonError && error.code === 'UNAVAILABLE'
