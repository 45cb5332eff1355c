// The HTTP server: one port for GraphQL over HTTP, SSE and WebSocket, for GraphiQL, and for the health endpoints. What
// happens at /graphql is graphql/http-handler.ts and graphql/websocket.ts.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { GraphQLSchema, ValidationRule } from 'graphql'
import type { Auth } from './auth.ts'
import { createConnections } from './connections/connections.ts'
import { createDeadlines } from './connections/deadlines.ts'
import { createHeartbeat } from './connections/heartbeat.ts'
import { notFound, pathOf, refuse, sendJson } from './connections/respond.ts'
import type { TransportMetrics } from './connections/transport-metrics.ts'
import { createGraphqlHandler } from './graphql/http-handler.ts'
import { createOperations } from './graphql/operations.ts'
import { createServeEvents } from './graphql/sse.ts'
import { createWebSockets } from './graphql/websocket.ts'
import type { Health } from './health.ts'
import type { Logger } from './logger.ts'

export interface HttpServerOptions {
  host: string
  /** 0 takes a free one. */
  port: number
  schema: GraphQLSchema
  auth: Auth
  logger: Logger
  health: Health
  metrics: TransportMetrics
  allowedOrigins: readonly string[]
  graphiql: boolean
  introspection: boolean
  maxBodyBytes: number
  maxMessageBytes: number
  maxConnections: number
  maxConnectionsPerUser: number
  maxSubscriptionsPerSocket: number
  initTimeoutMs: number
  keepaliveMs: number
  /** Limits on documents, beside the specification's rules. */
  rules?: readonly ValidationRule[]
  tokensMax?: number
  /** Default: `slowReaderCloseMs`. */
  slowReaderMs?: number
  /** More paths, each answered whole by its handler: /metrics, the inbox page. */
  routes?: Readonly<Record<string, Route>>
}

export type Route = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>

export interface HttpServer {
  /** Fails where the port is taken. */
  listen(): Promise<{ url: string }>
  /**
   * Ends all connections, spread over `drainMs`, and answers what is in flight. Meanwhile /readyz says so, and no new
   * connection is taken; requests are answered until the end.
   */
  close(options: { drainMs: number }): Promise<void>
}

/** A request that has not arrived whole by then comes from nobody who waits for its answer. */
const requestMsMax = 30_000
/** Longer than the balancers in use keep a connection, so that it is they who end it and no request is lost between. */
const idleMsMax = 75_000
/** How long answers in flight may take at the end. */
const lastAnswersMsMax = 5_000

const securityHeaders = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
}

export function createHttpServer(options: HttpServerOptions): HttpServer {
  const { host, port, logger, health, metrics } = options
  const deadlines = createDeadlines()
  const heartbeat = createHeartbeat(options.keepaliveMs)
  const connections = createConnections(options, metrics)
  const shared = { ...options, operations: createOperations(options), connections, deadlines, heartbeat }
  const routes: Record<string, Route> = {
    ...options.routes,
    '/graphql': createGraphqlHandler({ ...shared, serveEvents: createServeEvents(shared) }),
    '/livez': (_, response) => sendJson(response, 200, { status: 'ok' }),
    '/readyz': (_, response) => {
      const { ready, ...body } = health.readiness()
      sendJson(response, ready ? 200 : 503, body, { 'cache-control': 'no-store' })
    },
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    for (const [name, value] of Object.entries(securityHeaders)) response.setHeader(name, value)
    if (connections.isDraining) response.setHeader('connection', 'close')
    const path = pathOf(request)
    const route = Object.hasOwn(routes, path) ? routes[path] : undefined
    if (route) await route(request, response)
    else refuse(response, notFound)
  }

  const server = createServer({ requestTimeout: requestMsMax, keepAliveTimeout: idleMsMax }, (request, response) => {
    answer(request, response).catch((error: unknown) => {
      logger.error({ err: error, path: pathOf(request) }, 'a request failed unexpectedly')
      if (response.headersSent) response.destroy()
      else refuse(response, { status: 500, code: 'INTERNAL_SERVER_ERROR', message: 'Internal server error' })
    })
  })
  server.on('upgrade', createWebSockets(shared))

  return {
    async listen() {
      await new Promise<void>((resolve, reject) => {
        server.once('error', (error) => {
          heartbeat.close()
          reject(error)
        })
        server.listen(port, host, resolve)
      })
      return { url: urlOf(server.address()) }
    },
    async close({ drainMs }) {
      health.draining()
      await connections.drain(drainMs)
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeIdleConnections()
      const inTime = new AbortController()
      // An abort only says that the wait is over.
      await Promise.race([closed, sleep(lastAnswersMsMax, undefined, { signal: inTime.signal }).catch(() => {})])
      inTime.abort()
      server.closeAllConnections()
      await closed
      heartbeat.close()
      deadlines.close()
    },
  }
}

function urlOf(address: AddressInfo | string | null): string {
  if (address === null || typeof address === 'string') throw new Error('the server does not listen on a port')
  const { family, port } = address
  return `http://${family === 'IPv6' ? `[${address.address}]` : address.address}:${port}`
}
