// A client that does what docs/PROTOCOL.md asks of one: it comes back for ever, with the cursor that it holds, at whichever
// server answers, and notices a dead connection. It writes down whatever it gets.
import WebSocket from 'ws'

const backoffMinMs = 20
const backoffMaxMs = 500
const handshakeMsMax = 5_000
const pingEveryMs = 1_000

export type ReaderKind = 'notifications' | 'inboxEvents'

export interface ReaderOptions {
  userId: string
  token: string
  kind?: ReaderKind
  autoAck?: boolean
  /** Where the next connection goes. */
  nextUrl(): string
  /** Default true: it names its cursor when it connects again. */
  resumes?: boolean
  /** Where it begins. Default: before what nobody has acknowledged. */
  after?: string | null
  /** Default 4,000: a connection that is silent for longer is given up. Zero: never. */
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

interface Message {
  id?: string
  type: string
  payload?: { data?: Record<string, Received & InboxEvent> } & { extensions?: { code: string } }[]
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
  /** How often it was told to fetch the states again. */
  stateChanges = 0
  /** What is none of a stream: twice, out of order, of another user. */
  readonly defects: string[] = []
  /** Codes of `error` messages, after which it does not come back. */
  readonly finals: string[] = []
  /** How often a connection was closed with a code. */
  readonly closings = new Map<number, number>()
  readonly #seen = new Set<string>()
  cursor: string | null
  connections = 0
  /** Since when the stream has been subscribed, by `performance.now()`; undefined while it is not. */
  subscribedAt: number | undefined
  /** The instance that it is, or tries to get, connected to. */
  url = ''
  onReceived: (received: Received) => void = () => {}
  onClosed: (code: number) => void = () => {}
  #socket: WebSocket | undefined
  #lastSeq = 0
  #subscriptions = 0
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
    this.#socket?.terminate()
  }

  /** Ends its subscription and begins another on the same connection, as an application does whose page changes. */
  resubscribe(): void {
    if (!this.#socket || !this.isConnected) return
    this.#socket.send(JSON.stringify({ id: String(this.#subscriptions), type: 'complete' }))
    this.#subscribe(this.#socket, this.cursor)
  }

  /** Reads nothing more of what arrives, until told so: the network fills up. */
  pause(): void {
    this.#socket?.pause()
  }

  resume(): void {
    this.#socket?.resume()
  }

  /** For good. */
  close(): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
    this.#socket?.terminate()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #connect(): void {
    const { token, nextUrl, resumes = true, deadMs = 4_000, localAddress } = this.options
    this.url = nextUrl()
    const socket = new WebSocket(`${this.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', {
      handshakeTimeout: handshakeMsMax,
      perMessageDeflate: false,
      ...(localAddress && { localAddress }),
    })
    this.#socket = socket
    this.connections += 1
    // On one subscription nothing comes twice; without a cursor a new one begins with what was not acknowledged.
    if (!resumes) this.#lastSeq = 0
    let heardAt = performance.now()
    const watch = setInterval(() => {
      if (deadMs > 0 && performance.now() - heardAt > deadMs) socket.terminate()
      else if (deadMs > 0 && socket.readyState === WebSocket.OPEN) socket.send('{"type":"ping"}')
    }, pingEveryMs)
    socket.on('open', () => {
      const after = resumes && this.cursor !== null ? { after: this.cursor } : {}
      socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: token, ...after } }))
    })
    socket.on('message', (data) => {
      heardAt = performance.now()
      this.#take(socket, JSON.parse(String(data)))
    })
    // Its close says all that matters.
    socket.on('error', () => {})
    socket.on('close', (code) => {
      clearInterval(watch)
      this.subscribedAt = undefined
      this.closings.set(code, (this.closings.get(code) ?? 0) + 1)
      this.onClosed(code)
      if (this.#isClosed || this.finals.length > 0) return
      this.#timer = setTimeout(() => this.#connect(), this.#backoffMs * (0.5 + Math.random() / 2))
      this.#backoffMs = Math.min(this.#backoffMs * 2, backoffMaxMs)
    })
  }

  /** Without `after` the connection's own cursor counts. */
  #subscribe(socket: WebSocket, after: string | null = null): void {
    const id = String(++this.#subscriptions)
    const payload = { query: documentOf(this.options), variables: { after } }
    socket.send(JSON.stringify({ id, type: 'subscribe', payload }))
  }

  #take(socket: WebSocket, { id, type, payload }: Message): void {
    if (this.#isClosed) return
    // What was on its way when it ended that subscription.
    if (id !== undefined && id !== String(this.#subscriptions)) return
    if (type === 'connection_ack') {
      this.#backoffMs = backoffMinMs
      this.subscribedAt = performance.now()
      this.#subscribe(socket)
    } else if (type === 'ping') {
      socket.send('{"type":"pong"}')
    } else if (type === 'next') {
      this.#event(payload)
    } else if (type === 'error' || type === 'complete') {
      this.finals.push(payload?.[0]?.extensions?.code ?? type)
      socket.terminate()
    }
  }

  #event(payload: Message['payload']): void {
    const event = payload?.data?.event
    if (!event) return void this.defects.push(`not an event: ${JSON.stringify(payload)}`)
    this.cursor = event.cursor
    if (event.stateChanged) this.stateChanges += 1
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
