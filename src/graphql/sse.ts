// GraphQL over server-sent events, a response an operation ("distinct connections"): events `next` and `complete`, each
// `next` with its cursor as `id`, so that a client which reconnects resumes by `Last-Event-ID`. A `complete` is final to
// every client, so that whatever may pass breaks the response off without one.
import type { ServerResponse } from 'node:http'
import type { ExecutionResult } from 'graphql'
import type { Connections } from '../connections/connections.ts'
import type { Deadlines } from '../connections/deadlines.ts'
import type { Heartbeat } from '../connections/heartbeat.ts'
import { full, type Refusal, refuse, retryAfterSeconds } from '../connections/respond.ts'
import { SseConnection } from '../connections/sse-connection.ts'
import type { TransportMetrics } from '../connections/transport-metrics.ts'
import type { Logger } from '../logger.ts'
import { cursorOf, failed, written } from './delivered.ts'
import { formatError, mayPass } from './errors.ts'
import type { Operation } from './operation.ts'
import type { Operations } from './operations.ts'
import { type ResultStream, type StreamedResult, sourceEvent } from './subscribe-operation.ts'

export interface SseOptions {
  operations: Operations
  connections: Connections
  deadlines: Deadlines
  heartbeat: Heartbeat
  metrics: TransportMetrics
  logger: Logger
  slowReaderMs?: number
}

export type ServeEvents = (response: ServerResponse, operation: Operation) => Promise<void>

const tooManyOfUser: Refusal = {
  status: 429,
  code: 'RATE_LIMITED',
  message: 'too many connections of this user',
  details: { retryAfterMs: retryAfterSeconds * 1000 },
  headers: { 'retry-after': String(retryAfterSeconds) },
}

const tryAgain: Refusal = { ...full, message: 'try again later' }

const complete = 'event: complete\ndata:\n\n'

/** A result that is the only one: of a query, of a mutation, or errors. */
export function onlyEvent(result: ExecutionResult): string {
  return `event: next\ndata: ${JSON.stringify(result)}\n\n${complete}`
}

function eventOf(result: StreamedResult): string {
  const cursor = cursorOf(result[sourceEvent])
  const id = cursor === null ? '' : `id: ${cursor}\n`
  return `${id}event: next\ndata: ${JSON.stringify(result)}\n\n`
}

/** Serves a subscription. Resolves when it is over; never rejects for what a client or a source did. */
export function createServeEvents(options: SseOptions): ServeEvents {
  const { operations, connections, heartbeat, metrics, logger } = options

  async function serve(connection: SseConnection, response: ServerResponse, operation: Operation): Promise<void> {
    try {
      const stream = await operations.subscribe(operation)
      try {
        const closed = () => void returnStream(stream)
        response.once('close', closed)
        await connection.begin()
        await pump(stream, connection)
        response.off('close', closed)
      } finally {
        // Also where the client had gone while the subscription was starting: nothing was taken from it then.
        await returnStream(stream)
      }
    } catch (error) {
      await fail(error, connection, response, operation)
    }
  }

  /** Takes an event when the one before has been written, and no earlier. */
  async function pump(stream: ResultStream, connection: SseConnection): Promise<void> {
    const { observer } = stream
    while (connection.isOpen) {
      const { done, value: result } = await stream.next()
      if (done) {
        // Also where the client closed and `return()` was called, and then nothing is sent.
        await connection.write(complete)
        return connection.end()
      }
      const event = result[sourceEvent]
      await connection.write(eventOf(result))
      if (connection.isBroken) failed(event, 'sse', metrics)
      if (!connection.isOpen) return
      written(event, observer, 'sse', metrics)
      if (observer.wantsConfirmation) observer.confirmed?.(event)
    }
  }

  async function fail(error: unknown, connection: SseConnection, response: ServerResponse, operation: Operation) {
    const { requestId } = operation.contextValue
    if (mayPass(error)) {
      logger.warn({ err: error, requestId }, 'a subscription failed because of what may pass')
      if (response.headersSent) connection.terminate()
      else if (connection.isOpen) refuse(response, tryAgain)
      return
    }
    const errors = [formatError(error, requestId, logger)]
    if (!response.headersSent) await connection.begin()
    await connection.write(onlyEvent({ errors }))
    connection.end()
  }

  async function returnStream(stream: ResultStream): Promise<void> {
    try {
      await stream.return()
    } catch (error) {
      logger.error({ err: error }, 'a subscription did not end cleanly')
    }
  }

  return async (response, operation) => {
    const { viewer } = operation.contextValue
    const connection = new SseConnection(response, options)
    const place = connections.enter(connection)
    if (!place) return refuse(response, full)
    heartbeat.add(connection)
    const leave = () => {
      heartbeat.remove(connection)
      place.leave()
    }
    response.once('close', leave)
    if (response.destroyed) leave()
    if (viewer && !place.claim(viewer.sub)) {
      metrics.rejected('user_limit')
      return refuse(response, tooManyOfUser)
    }
    if (viewer) connection.expireAt(viewer.expiresAt)
    await serve(connection, response, operation)
  }
}
