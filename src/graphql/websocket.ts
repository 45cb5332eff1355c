// GraphQL over WebSocket: the protocol graphql-transport-ws, spoken by graphql-ws, over the connections of
// connections/websocket-connection.ts. An error message is final to every client of the protocol, so that whatever may
// pass closes the socket with 1013 instead, and they come back.
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { CloseCode, handleProtocols, makeServer } from 'graphql-ws'
import { type RawData, WebSocket, WebSocketServer } from 'ws'
import { type Auth, bearerToken, type Viewer } from '../auth.ts'
import type { Connections, Place } from '../connections/connections.ts'
import type { Deadlines } from '../connections/deadlines.ts'
import type { Heartbeat } from '../connections/heartbeat.ts'
import { mayCall } from '../connections/origin.ts'
import { full, notFound, originRefused, pathOf, refuseUpgrade } from '../connections/respond.ts'
import type { TransportMetrics } from '../connections/transport-metrics.ts'
import { createTurns } from '../connections/turns.ts'
import { closeCodes, WebSocketConnection } from '../connections/websocket-connection.ts'
import { CarillonError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { formatError, mayPass } from './errors.ts'
import type { Operations } from './operations.ts'
import {
  createSocketOperations,
  operationOf,
  type Socket,
  SocketContext,
  SocketOperation,
} from './socket-operations.ts'

export interface WebSocketOptions {
  operations: Operations
  auth: Auth
  connections: Connections
  deadlines: Deadlines
  heartbeat: Heartbeat
  metrics: TransportMetrics
  logger: Logger
  allowedOrigins: readonly string[]
  maxMessageBytes: number
  maxSubscriptionsPerSocket: number
  initTimeoutMs: number
  slowReaderMs?: number
}

/** Of one message: far more than a client that streams its message needs, far less than what would tie up memory. */
const fragmentsMax = 64

/** In one turn of the event loop. Each brings about half a millisecond of work to the turns that follow. */
const upgradesPerTurnMax = 16

export type Upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => void

/** Answers the upgrades of `/graphql`, and refuses all others. */
export function createWebSockets(options: WebSocketOptions): Upgrade {
  const { connections, metrics, logger, allowedOrigins } = options
  const protocol = createProtocol(options)
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: options.maxMessageBytes,
    maxFragments: fragmentsMax,
    handleProtocols,
    WebSocket: PeerSocket,
  })

  function open(webSocket: PeerSocket, stream: Duplex): void {
    const connection = new WebSocketConnection(webSocket, stream, options)
    // Full is looked at before the upgrade too; between the two others may have come.
    const place = connections.enter(connection)
    if (!place) {
      webSocket.on('error', (error) => logger.debug({ err: error }, 'a WebSocket failed'))
      connection.close(closeCodes.tryAgain, 'too many connections')
      return
    }
    const peer = new Peer(webSocket, connection, place, options)
    webSocket.peer = peer
    options.heartbeat.add(connection)
    webSocket.on('message', onMessage).on('ping', onPing).on('pong', onPong).on('error', onError).on('close', onClose)
    const closed = protocol.opened(peer, peer)
    connection.onClosing = (code, reason) => {
      closed(code, reason).catch((error: unknown) => {
        logger.error({ err: error }, 'a subscription did not end cleanly')
      })
    }
    peer.awaitInit()
  }

  const upgrade: Upgrade = (request, socket, head) => {
    if (pathOf(request) !== '/graphql') return refuseUpgrade(socket, notFound)
    if (!mayCall(request, allowedOrigins)) {
      metrics.rejected('origin')
      return refuseUpgrade(socket, originRefused)
    }
    if (!connections.hasRoom()) return refuseUpgrade(socket, full)
    server.handleUpgrade(request, socket, head, (webSocket) => open(webSocket, socket))
  }

  const inTurn = createTurns(upgradesPerTurnMax)
  return (request, socket, head) => {
    socket.on('error', (error) => logger.debug({ err: error }, 'an upgrade failed'))
    inTurn(() => upgrade(request, socket, head))
  }
}

/** One client: what graphql-ws talks to, and what the hooks below know of it. */
class Peer implements Socket {
  readonly protocol: string
  readonly connection: WebSocketConnection
  readonly place: Place
  readonly options: WebSocketOptions
  viewer: Viewer | null = null
  resumeAfter: string | null = null
  readonly operations: SocketOperation[] = []
  #handle: (text: string) => Promise<void> = () => Promise.resolve()
  #initInTime: (() => void) | undefined

  constructor({ protocol }: WebSocket, connection: WebSocketConnection, place: Place, options: WebSocketOptions) {
    this.protocol = protocol
    this.connection = connection
    this.place = place
    this.options = options
  }

  /** By one timer for all, where graphql-ws would take one each. */
  awaitInit(): void {
    const { deadlines, initTimeoutMs } = this.options
    this.#initInTime = deadlines.schedule(Date.now() + initTimeoutMs, () =>
      this.connection.close(CloseCode.ConnectionInitialisationTimeout, 'Connection initialisation timeout'),
    )
  }

  /** It has begun, or ended. */
  initiated(): void {
    this.#initInTime?.()
    this.#initInTime = undefined
  }

  send(text: string): Promise<void> | void {
    const { connection } = this
    connection.push(text)
    // Who waits for it holds little: with room that is at once, and an answer goes with its `complete` in one write.
    if (!connection.hasRoom) return connection.written()
  }

  close(code?: number, reason?: string): void {
    this.connection.close(code ?? closeCodes.tryAgain, reason ?? '')
  }

  onMessage(handle: (text: string) => Promise<void>): void {
    this.#handle = handle
  }

  heard(text: string): void {
    this.connection.heard()
    if (this.connection.isOpen) this.#handle(text).catch((error: unknown) => this.#fail(error))
  }

  left(code: number, reason: string): void {
    this.connection.closed(code, reason)
    this.initiated()
    this.options.heartbeat.remove(this.connection)
    this.place.leave()
  }

  /** What escapes from the handling of a message would close with 4500, which no client ever retries. */
  #fail(error: unknown): void {
    if (error instanceof Error && error.message.startsWith('Unexpected message of type')) {
      this.connection.close(closeCodes.badRequest, 'Invalid message received')
    } else {
      this.options.logger.error({ err: error }, 'a WebSocket message could not be handled')
      this.connection.close(closeCodes.tryAgain, 'try again later')
    }
  }
}

/** So that one function listens to all sockets, and none is made for each. */
class PeerSocket extends WebSocket {
  peer: Peer | undefined
}

function peerOf(socket: WebSocket): Peer | undefined {
  return socket instanceof PeerSocket ? socket.peer : undefined
}

function onMessage(this: WebSocket, data: RawData): void {
  peerOf(this)?.heard(String(data))
}

function onPing(this: WebSocket): void {
  peerOf(this)?.connection.heard()
}

function onPong(this: WebSocket, payload: Buffer): void {
  peerOf(this)?.connection.heardPong(payload)
}

/** Protocol errors of a peer: `ws` closes with the code that fits. */
function onError(this: WebSocket, error: Error): void {
  peerOf(this)?.options.logger.debug({ err: error }, 'a WebSocket failed')
}

function onClose(this: WebSocket, code: number, reason: Buffer): void {
  peerOf(this)?.left(code, String(reason))
}

/** The hooks of graphql-ws. None of them throws. */
function createProtocol(options: WebSocketOptions) {
  const { operations, metrics, logger, maxSubscriptionsPerSocket } = options
  const socketOperations = createSocketOperations(operations, metrics, logger)
  return makeServer<Record<string, unknown>, Peer>({
    // See `awaitInit`.
    connectionInitWaitTimeout: 0,
    async onConnect({ connectionParams = {}, extra }) {
      extra.initiated()
      const viewer = await authenticate(connectionParams, extra.connection, options)
      if (!viewer || !extra.connection.isOpen) return false
      if (!extra.place.claim(viewer.sub)) {
        metrics.rejected('user_limit')
        extra.connection.close(closeCodes.tryAgain, 'too many connections')
        return false
      }
      extra.viewer = viewer
      const { after = null } = connectionParams
      // What is no text is no cursor, and refused as such: ignoring it would replay what the client has.
      extra.resumeAfter = after === null || typeof after === 'string' ? after : ''
      extra.connection.expireAt(viewer.expiresAt)
      return true
    },
    onSubscribe({ extra }, id, { query, operationName, variables }) {
      const context = new SocketContext(extra, logger)
      const prepared = operations.prepare({ query, operationName, variables }, context)
      if (!('document' in prepared)) return prepared
      if (prepared.type === 'subscription' && subscriptionsOf(extra) >= maxSubscriptionsPerSocket) {
        const message = `a socket carries ${maxSubscriptionsPerSocket} subscriptions at most`
        return [formatError(new CarillonError('BAD_USER_INPUT', message), context.requestId, logger)]
      }
      return socketOperations.begin(new SocketOperation(prepared, extra, id))
    },
    execute: socketOperations.execute,
    subscribe: socketOperations.subscribe,
    onComplete: ({ extra }, id) => socketOperations.end(operationOf(extra, id)),
    onError: (_, _id, _payload, errors) => errors.map((error) => formatError(error, randomUUID(), logger).toJSON()),
  })
}

/** Null where the token does not hold. */
async function authenticate(
  { authorization, Authorization }: Record<string, unknown>,
  connection: WebSocketConnection,
  { auth, metrics, logger }: WebSocketOptions,
): Promise<Viewer | null> {
  const value = authorization ?? Authorization
  const token = typeof value === 'string' ? bearerToken(value) : null
  try {
    if (token !== null) return await auth.verify(token)
    metrics.rejected('unauthenticated')
  } catch (error) {
    if (mayPass(error)) {
      logger.warn({ err: error }, 'a token could not be verified')
      metrics.rejected('unavailable')
      connection.close(closeCodes.tryAgain, 'try again later')
    } else {
      metrics.rejected('unauthenticated')
    }
  }
  return null
}

function subscriptionsOf({ operations }: Peer): number {
  let count = 0
  for (const { type } of operations) if (type === 'subscription') count += 1
  return count
}
