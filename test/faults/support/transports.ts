// One connection with one subscription on it, over WebSocket or server-sent events, as its client sees it.
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import WebSocket from 'ws'

export type Transport = 'ws' | 'sse'

export interface LinkOptions {
  url: string
  token: string
  query: string
  /** The cursor that it resumes from. */
  after: string | null
  /** A connection that is silent for longer is given up. Zero: never. */
  deadMs: number
  localAddress: string | undefined
  /** What a server accepted; over SSE that is the subscription, over WebSocket the connection. */
  onReady(): void
  /** The payload of a `next`. */
  onNext(payload: Payload): void
  /** By its code, or `complete`: no client comes back after it. */
  onFinal(code: string): void
  /** Once. Over SSE the status is the code where it was not 200, and otherwise 1006, which stands for "broken off". */
  onClose(code: number): void
}

export interface Payload {
  data?: Record<string, unknown> | null
  errors?: { extensions: { code: string } }[]
}

export interface Link {
  /** Without a closing handshake. */
  terminate(): void
  pause(): void
  resume(): void
  /** Ends its subscription and begins another after this cursor; over SSE a subscription is a connection. */
  resubscribe(after: string | null): void
}

const handshakeMsMax = 5_000
/** A server answers as soon as it has subscribed, for which it may wait for its database. */
const answerMsMax = 20_000
const pingEveryMs = 1_000

export const openLink = { ws: openSocket, sse: openEvents } satisfies Record<Transport, (options: LinkOptions) => Link>

interface SocketMessage {
  id?: string
  type: string
  payload?: unknown
}

function openSocket(options: LinkOptions): Link {
  const { url, token, query, after, deadMs, localAddress, onReady, onNext, onFinal, onClose } = options
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', {
    handshakeTimeout: handshakeMsMax,
    perMessageDeflate: false,
    ...(localAddress && { localAddress }),
  })
  const send = (message: SocketMessage) => socket.send(JSON.stringify(message))
  let subscriptions = 0
  let isReady = false
  let heardAt = performance.now()
  const watch = setInterval(() => {
    if (deadMs > 0 && performance.now() - heardAt > deadMs) socket.terminate()
    else if (deadMs > 0 && socket.readyState === WebSocket.OPEN) send({ type: 'ping' })
  }, pingEveryMs)

  /** Without `after` the connection's own cursor counts. */
  function subscribe(after: string | null): void {
    send({ id: String(++subscriptions), type: 'subscribe', payload: { query, variables: { after } } })
  }

  function take({ id, type, payload }: SocketMessage): void {
    // What was on its way when it ended that subscription.
    if (id !== undefined && id !== String(subscriptions)) return
    if (type === 'connection_ack') {
      isReady = true
      onReady()
      subscribe(null)
    } else if (type === 'ping') {
      send({ type: 'pong' })
    } else if (type === 'next') {
      onNext(payload as Payload)
    } else if (type === 'error' || type === 'complete') {
      const [error] = (payload ?? []) as NonNullable<Payload['errors']>
      onFinal(error?.extensions.code ?? type)
      socket.terminate()
    }
  }

  socket.on('open', () => {
    const cursor = after === null ? {} : { after }
    send({ type: 'connection_init', payload: { authorization: token, ...cursor } })
  })
  socket.on('message', (data) => {
    heardAt = performance.now()
    take(JSON.parse(String(data)))
  })
  // Its close says all that matters.
  socket.on('error', () => {})
  socket.on('close', (code) => {
    clearInterval(watch)
    onClose(code)
  })
  return {
    terminate: () => socket.terminate(),
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    resubscribe(after) {
      if (!isReady || socket.readyState !== WebSocket.OPEN) return
      send({ id: String(subscriptions), type: 'complete' })
      subscribe(after)
    },
  }
}

function openEvents(options: LinkOptions): Link {
  const { url, token, query, after, deadMs, localAddress, onReady, onNext, onFinal, onClose } = options
  let response: IncomingMessage | undefined
  let code = 1006
  let text = ''
  const outgoing: ClientRequest = request(`${url}/graphql`, {
    method: 'POST',
    agent: false,
    timeout: answerMsMax,
    headers: {
      'content-type': 'application/json',
      accept: 'text/event-stream',
      authorization: `Bearer ${token}`,
      ...(after !== null && { 'last-event-id': after }),
    },
    ...(localAddress && { localAddress }),
  })

  function take(event: string): void {
    const lines = event.split('\n')
    const field = (name: string) =>
      lines
        .find((line) => line.startsWith(`${name}:`))
        ?.slice(name.length + 1)
        .trim()
    const type = field('event')
    if (type === 'next') {
      const payload: Payload = JSON.parse(field('data') ?? '')
      const [error] = payload.errors ?? []
      if (error && !payload.data) onFinal(error.extensions.code)
      else onNext(payload)
    } else if (type === 'complete') {
      onFinal('complete')
      outgoing.destroy()
    }
  }

  outgoing.on('response', (incoming) => {
    response = incoming
    if (incoming.statusCode !== 200) {
      code = incoming.statusCode ?? code
      incoming.resume()
      return
    }
    outgoing.setTimeout(deadMs)
    onReady()
    incoming.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      const events = text.split('\n\n')
      // The last is not whole yet; where a connection breaks it never will be.
      text = events.pop() ?? ''
      for (const event of events) take(event)
    })
    // Its close says all that matters.
    incoming.on('error', () => {})
  })
  outgoing.on('timeout', () => outgoing.destroy())
  outgoing.on('error', () => {})
  outgoing.on('close', () => onClose(code))
  outgoing.end(JSON.stringify({ query, variables: { after: null } }))
  return {
    terminate: () => outgoing.destroy(),
    pause: () => response?.pause(),
    resume: () => response?.resume(),
    resubscribe: () => outgoing.destroy(),
  }
}
