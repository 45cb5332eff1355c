// A WebSocket without a library's protocol on top: it queues what arrives, so that no test misses a message.
import { once } from 'node:events'
import WebSocket from 'ws'

const protocol = 'graphql-transport-ws'

export interface Message {
  id?: string
  type: string
  payload?: unknown
}

export class RawSocket {
  readonly webSocket: WebSocket
  /** Everything that arrived, in order. */
  readonly received: Message[] = []
  readonly closed: Promise<{ code: number; reason: string }>
  readonly #queue: Message[] = []
  #wake: () => void = () => {}

  constructor(url: string, options: WebSocket.ClientOptions = {}, protocols: string[] = [protocol]) {
    this.webSocket = new WebSocket(url, protocols, options)
    this.closed = new Promise((resolve) => {
      this.webSocket.on('close', (code, reason) => {
        resolve({ code, reason: String(reason) })
        this.#wake()
      })
    })
    this.webSocket.on('error', () => this.#wake())
    this.webSocket.on('message', (data) => {
      const message: Message = JSON.parse(String(data))
      this.received.push(message)
      this.#queue.push(message)
      this.#wake()
    })
  }

  async opened(): Promise<this> {
    await once(this.webSocket, 'open')
    return this
  }

  /** Opened and acknowledged. */
  async ready(authorization: unknown, params: object = {}): Promise<this> {
    await this.opened()
    this.send({ type: 'connection_init', payload: { authorization, ...params } })
    await this.next('connection_ack')
    return this
  }

  send(message: object | string): void {
    this.webSocket.send(typeof message === 'string' ? message : JSON.stringify(message))
  }

  subscribe(id: string, query: string, variables?: object): void {
    this.send({ id, type: 'subscribe', payload: { query, variables } })
  }

  /** The next message, which must be of this type. */
  async next(type: string): Promise<Message> {
    for (;;) {
      const message = this.#queue.shift()
      if (message?.type === type) return message
      if (message) throw new Error(`expected ${type}, got ${JSON.stringify(message)}`)
      if (this.webSocket.readyState === WebSocket.CLOSED) throw new Error(`closed before ${type}`)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.webSocket.terminate()
  }
}

/** The status with which an upgrade is refused. */
export async function refusedUpgrade(url: string, options: WebSocket.ClientOptions = {}) {
  const webSocket = new WebSocket(url, protocol, options)
  webSocket.on('error', () => {})
  const [, response] = await once(webSocket, 'unexpected-response')
  const text = (await response.toArray()).join('')
  return { status: response.statusCode, headers: response.headers, body: JSON.parse(text) }
}
