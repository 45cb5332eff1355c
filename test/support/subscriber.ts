// A client of the GraphQL WebSocket protocol that a test can cut off at any moment, and that has whatever reached it
// until then, in order. Libraries close politely and reconnect by themselves; this one does neither.
import WebSocket from 'ws'

export interface SubscriberOptions<Data> {
  token: string
  query: string
  variables?: Record<string, unknown>
  /** `connectionParams.after`: where a client that has been here before resumes. */
  after?: string | null
  onData?: (data: Data) => void
}

interface Message {
  id?: string
  type: string
  payload?: { data?: unknown; errors?: unknown }
}

export class Subscriber<Data> {
  /** What has arrived. Nothing is added once it was dropped. */
  readonly received: Data[] = []
  /** Why there will be no more, unless it was dropped. */
  failure: string | undefined
  readonly #socket: WebSocket
  readonly #options: SubscriberOptions<Data>
  readonly #answers = new Map<string, (payload: Message['payload']) => void>()
  #isDropped = false
  #requests = 0

  /** `url` is the server's, as `Server.url` has it. Connects and subscribes at once. */
  constructor(url: string, options: SubscriberOptions<Data>) {
    this.#options = options
    const { token, after } = options
    this.#socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws')
    this.#socket.on('open', () =>
      this.#send({ type: 'connection_init', payload: { authorization: token, ...(after != null && { after }) } }),
    )
    this.#socket.on('message', (data) => this.#take(JSON.parse(String(data))))
    this.#socket.on('error', (error) => this.#fail(String(error)))
    this.#socket.on('close', (code, reason) => this.#fail(`closed with ${code} ${reason}`))
  }

  /** One query or mutation over the same socket. Never settles where the connection ends before the answer. */
  request(query: string, variables: Record<string, unknown>): Promise<Message['payload']> {
    const id = `request-${++this.#requests}`
    return new Promise((resolve) => {
      this.#answers.set(id, resolve)
      this.#send({ id, type: 'subscribe', payload: { query, variables } })
    })
  }

  /** Without a closing handshake, as a phone that lost its network. */
  drop(): void {
    this.#isDropped = true
    this.#socket.terminate()
  }

  #take({ id = '', type, payload }: Message): void {
    if (this.#isDropped) return
    const { query, variables, onData } = this.#options
    if (type === 'connection_ack') this.#send({ id: 'stream', type: 'subscribe', payload: { query, variables } })
    else if (type === 'ping') this.#send({ type: 'pong' })
    else if (type === 'next' && id === 'stream' && !payload?.errors) {
      // The shape is what the query asked for.
      const data = payload?.data as Data
      this.received.push(data)
      onData?.(data)
    } else if (type === 'next' && id !== 'stream') {
      this.#answers.get(id)?.(payload)
      this.#answers.delete(id)
    } else if (id === 'stream' || type !== 'complete') this.#fail(JSON.stringify({ type, payload }))
  }

  #send(message: object): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message))
  }

  #fail(reason: string): void {
    if (!this.#isDropped) this.failure ??= reason
  }
}
