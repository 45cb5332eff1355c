// A client that does what docs/PROTOCOL.md asks of one: it comes back for ever, with the cursor that it holds, at whichever
// server answers, and notices a dead connection. It writes down whatever it gets.
import { type Link, openLink, type Payload, type Transport } from './transports.ts'

const backoffMinMs = 20
const backoffMaxMs = 500
/** A WebSocket is asked each second; over SSE a server gives a sign of life every 12 s unless it is told otherwise. */
const deadMsOf: Record<Transport, number> = { ws: 4_000, sse: 30_000 }

export type ReaderKind = 'notifications' | 'inboxEvents'

export interface ReaderOptions {
  userId: string
  token: string
  kind?: ReaderKind
  /** Default `ws`. */
  transport?: Transport
  autoAck?: boolean
  /** Where the next connection goes. */
  nextUrl(): string
  /** Default true: it names its cursor when it connects again. */
  resumes?: boolean
  /** Where it begins. Default: before what nobody has acknowledged. */
  after?: string | null
  /** Default 4,000, over SSE 30,000: a connection that is silent for longer is given up. Zero: never. */
  deadMs?: number
  /** Of this machine, where the connection comes from. */
  localAddress?: string
  /** More of the notification to ask for. */
  fields?: string
}

export interface Received {
  id: string
  seq: number
  userId: string
  title: string
}

/** Of inbox events: states that changed, and the counter as of then. */
export interface Update {
  ids: string[]
  undeliveredCount: number
}

interface InboxEvent {
  __typename: string
  cursor: string
  notification?: Received
  notifications?: { id: string }[]
  inbox: { undeliveredCount: number }
  stateChanged?: boolean
}

export class Reader implements Disposable {
  readonly userId: string
  readonly options: ReaderOptions
  /** In the order in which they came, over all connections. */
  readonly received: Received[] = []
  /** When each came, by `performance.now()`. */
  readonly receivedAt: number[] = []
  readonly updates: Update[] = []
  /** When a stream of inbox events first said that it has caught up, by `performance.now()`. */
  caughtUpAt: number | undefined
  /** How often it was told to fetch the states again. */
  stateChanges = 0
  /** What is none of a stream: twice, out of order, of another user. */
  readonly defects: string[] = []
  /** Codes of errors that end a stream, after which it does not come back. */
  readonly finals: string[] = []
  /** How often a connection was closed with a code; one over SSE that was refused, with a status. */
  readonly closings = new Map<number, number>()
  readonly #seen = new Set<string>()
  cursor: string | null
  /** Of the first event that ever came. */
  firstCursor: string | null = null
  connections = 0
  /** Since when the stream has been subscribed, by `performance.now()`; undefined while it is not. */
  subscribedAt: number | undefined
  /** The instance that it is, or tries to get, connected to. */
  url = ''
  onReceived: (received: Received) => void = () => {}
  onClosed: (code: number) => void = () => {}
  #link: Link | undefined
  #lastSeq = 0
  #isClosed = false
  #timer: NodeJS.Timeout | undefined
  #backoffMs = backoffMinMs

  constructor(options: ReaderOptions) {
    this.options = options
    this.userId = options.userId
    this.cursor = options.after ?? null
    this.#connect()
  }

  get isConnected(): boolean {
    return this.subscribedAt !== undefined
  }

  has(title: string): boolean {
    return this.#seen.has(title)
  }

  /** As a phone that lost its network: without a closing handshake. It comes back at once. */
  cut(): void {
    this.#link?.terminate()
  }

  /** Ends its subscription and begins another, as an application does whose page changes. */
  resubscribe(): void {
    if (this.isConnected) this.#link?.resubscribe(this.cursor)
  }

  /** Reads nothing more of what arrives, until told so: the network fills up. */
  pause(): void {
    this.#link?.pause()
  }

  resume(): void {
    this.#link?.resume()
  }

  /** For good. */
  close(): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
    this.#link?.terminate()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #connect(): void {
    const { token, nextUrl, transport = 'ws', resumes = true, localAddress } = this.options
    this.url = nextUrl()
    this.connections += 1
    // On one subscription nothing comes twice; without a cursor a new one begins with what was not acknowledged.
    if (!resumes) this.#lastSeq = 0
    this.#link = openLink[transport]({
      url: this.url,
      token,
      query: documentOf(this.options),
      after: resumes ? this.cursor : null,
      deadMs: this.options.deadMs ?? deadMsOf[transport],
      localAddress,
      onReady: () => {
        this.#backoffMs = backoffMinMs
        this.subscribedAt = performance.now()
      },
      onNext: (payload) => {
        if (!this.#isClosed) this.#event(payload)
      },
      onFinal: (code) => {
        // Over SSE a `complete` follows each error.
        if (!this.#isClosed && this.finals.length === 0) this.finals.push(code)
      },
      onClose: (code) => this.#closed(code),
    })
  }

  #closed(code: number): void {
    this.subscribedAt = undefined
    this.closings.set(code, (this.closings.get(code) ?? 0) + 1)
    this.onClosed(code)
    if (this.#isClosed || this.finals.length > 0) return
    this.#timer = setTimeout(() => this.#connect(), this.#backoffMs * (0.5 + Math.random() / 2))
    this.#backoffMs = Math.min(this.#backoffMs * 2, backoffMaxMs)
  }

  #event({ data, ...payload }: Payload): void {
    const event = data?.event as (Received & InboxEvent) | undefined
    if (!event) return void this.defects.push(`not an event: ${JSON.stringify({ data, ...payload })}`)
    this.cursor = event.cursor
    this.firstCursor ??= event.cursor
    if (event.stateChanged) this.stateChanges += 1
    if (event.__typename === 'CaughtUp') this.caughtUpAt ??= performance.now()
    if (event.notifications) {
      const ids = event.notifications.map(({ id }) => id)
      this.updates.push({ ids, undeliveredCount: event.inbox.undeliveredCount })
    }
    const notification = this.options.kind === 'inboxEvents' ? event.notification : event
    if (!notification) return
    const { seq, title, userId } = notification
    if (userId !== this.userId || !title.startsWith(`${this.userId}/`)) this.defects.push(`foreign: ${title}`)
    if (seq <= this.#lastSeq)
      this.defects.push(`${this.#seen.has(title) ? 'twice' : 'out of order'}: ${title} (${seq})`)
    this.#lastSeq = Math.max(this.#lastSeq, seq)
    this.#seen.add(title)
    this.received.push({ id: notification.id, seq, userId, title })
    this.receivedAt.push(performance.now())
    this.onReceived(notification)
  }
}

function documentOf({ kind = 'notifications', autoAck = false, fields = '' }: ReaderOptions): string {
  const selection = `id seq userId title ${fields}`
  return kind === 'inboxEvents'
    ? `subscription ($after: String) { event: inboxEvents(after: $after) { __typename cursor inbox { undeliveredCount }
        ... on NotificationReceived { notification { ${selection} } }
        ... on NotificationsUpdated { notifications { id } }
        ... on CaughtUp { stateChanged } } }`
    : `subscription ($after: String) {
        event: notifications(after: $after, autoAck: ${autoAck}) { ${selection} cursor } }`
}
