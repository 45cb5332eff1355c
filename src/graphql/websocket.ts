// GraphQL over WebSocket: the protocol graphql-transport-ws, spoken by graphql-ws, over the connections of
// connections/websocket-connection.ts. An error message is final to every client of the protocol, so that whatever may
// pass closes the socket with 1013 instead, and they come back.
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { handleProtocols, makeServer } from 'graphql-ws'
import { type WebSocket, WebSocketServer } from 'ws'
import { type Auth, bearerToken, type Viewer } from '../auth.ts'
import type { Connections, Place } from '../connections/connections.ts'
import type { Deadlines } from '../connections/deadlines.ts'
import type { Heartbeat } from '../connections/heartbeat.ts'
import { mayCall } from '../connections/origin.ts'
import { full, notFound, originRefused, pathOf, refuseUpgrade } from '../connections/respond.ts'
import type { TransportMetrics } from '../connections/transport-metrics.ts'
import { closeCodes, WebSocketConnection } from '../connections/websocket-connection.ts'
import { CarillonError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { formatError, mayPass } from './errors.ts'
import type { Operations } from './operations.ts'
import { createSocketOperations, type Socket, SocketOperation } from './socket-operations.ts'

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

export type Upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => void

interface Extra extends Socket {
  place: Place
}

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
  })

  function open(webSocket: WebSocket, stream: Duplex): void {
    const connection = new WebSocketConnection(webSocket, stream, options)
    // Full is looked at before the upgrade too; between the two others may have come.
    const place = connections.enter(connection)
    // Protocol errors of a peer: `ws` closes with the code that fits.
    webSocket.on('error', (error) => logger.debug({ err: error }, 'a WebSocket failed'))
    if (!place) {
      connection.close(closeCodes.tryAgain, 'too many connections')
      return
    }
    const leaveHeartbeat = options.heartbeat.add(connection)
    const extra: Extra = { connection, place, viewer: null, resumeAfter: null, operations: new Map() }
    const closed = protocol.opened(
      {
        protocol: webSocket.protocol,
        send: (text) => connection.send(text),
        close: (code, reason) => connection.close(code ?? closeCodes.tryAgain, reason ?? ''),
        onMessage: (handle) =>
          webSocket.on('message', (data) => {
            if (connection.isOpen) handle(String(data)).catch((error: unknown) => fail(connection, error))
          }),
      },
      extra,
    )
    connection.onClosing = (code, reason) => {
      closed(code, reason).catch((error: unknown) => {
        logger.error({ err: error }, 'a subscription did not end cleanly')
      })
    }
    webSocket.on('close', () => {
      leaveHeartbeat()
      place.leave()
    })
  }

  /** What escapes from the handling of a message would close with 4500, which no client ever retries. */
  function fail(connection: WebSocketConnection, error: unknown): void {
    if (error instanceof Error && error.message.startsWith('Unexpected message of type')) {
      connection.close(closeCodes.badRequest, 'Invalid message received')
    } else {
      logger.error({ err: error }, 'a WebSocket message could not be handled')
      connection.close(closeCodes.tryAgain, 'try again later')
    }
  }

  return (request, socket, head) => {
    socket.on('error', (error) => logger.debug({ err: error }, 'an upgrade failed'))
    if (pathOf(request) !== '/graphql') return refuseUpgrade(socket, notFound)
    if (!mayCall(request, allowedOrigins)) {
      metrics.rejected('origin')
      return refuseUpgrade(socket, originRefused)
    }
    if (!connections.hasRoom()) return refuseUpgrade(socket, full)
    server.handleUpgrade(request, socket, head, (webSocket) => open(webSocket, socket))
  }
}

/** The hooks of graphql-ws. None of them throws. */
function createProtocol(options: WebSocketOptions) {
  const { operations, metrics, logger, maxSubscriptionsPerSocket } = options
  const socketOperations = createSocketOperations(operations, metrics, logger)
  return makeServer<Record<string, unknown>, Extra>({
    connectionInitWaitTimeout: options.initTimeoutMs,
    async onConnect({ connectionParams = {}, extra }) {
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
      const requestId = randomUUID()
      const { viewer, resumeAfter } = extra
      const context = { viewer, requestId, logger, transport: 'websocket', resumeAfter } as const
      const prepared = operations.prepare({ query, operationName, variables }, context)
      if (!('document' in prepared)) return prepared
      if (prepared.type === 'subscription' && subscriptionsOf(extra) >= maxSubscriptionsPerSocket) {
        const message = `a socket carries ${maxSubscriptionsPerSocket} subscriptions at most`
        return [formatError(new CarillonError('BAD_USER_INPUT', message), requestId, logger)]
      }
      return socketOperations.begin(new SocketOperation(prepared, extra, id))
    },
    execute: socketOperations.execute,
    subscribe: socketOperations.subscribe,
    onComplete: ({ extra }, id) => socketOperations.end(extra.operations.get(id)),
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

function subscriptionsOf({ operations }: Extra): number {
  let count = 0
  for (const { type } of operations.values()) if (type === 'subscription') count += 1
  return count
}
