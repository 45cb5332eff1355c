// The operations of WebSockets while they run: between graphql-ws, which holds one per id, and operations.ts.
import type { ExecutionArgs, ExecutionResult, GraphQLError } from 'graphql'
import type { Viewer } from '../auth.ts'
import type { TransportMetrics } from '../connections/transport-metrics.ts'
import { closeCodes, type WebSocketConnection } from '../connections/websocket-connection.ts'
import type { Logger } from '../logger.ts'
import type { Context } from './context.ts'
import { failed, written } from './delivered.ts'
import { formatError, mayPass } from './errors.ts'
import type { Operation } from './operation.ts'
import type { Operations } from './operations.ts'
import { createResultSink } from './push-results.ts'
import { type ResultStream, type StreamedResult, sourceEvent } from './subscribe-operation.ts'

/** What a socket's operations share. */
export interface Socket {
  connection: WebSocketConnection
  viewer: Viewer | null
  resumeAfter: string | null
  /** Those under way, by the id that the client chose. */
  operations: Map<string, SocketOperation>
}

export class SocketOperation implements ExecutionArgs {
  readonly schema
  readonly document
  readonly contextValue: Context
  readonly variableValues
  readonly operationName
  readonly type
  readonly socket: Socket
  readonly id: string
  /** The client completed it and used its id again, before it had begun or ended. */
  isSuperseded = false

  constructor(
    { schema, document, contextValue, variableValues, operationName, type }: Operation,
    socket: Socket,
    id: string,
  ) {
    this.schema = schema
    this.document = document
    this.contextValue = contextValue
    this.variableValues = variableValues
    this.operationName = operationName
    this.type = type
    this.socket = socket
    this.id = id
  }
}

type Next = IteratorResult<ExecutionResult, undefined>

export function createSocketOperations(operations: Operations, metrics: TransportMetrics, logger: Logger) {
  function begin(operation: SocketOperation): SocketOperation {
    const { socket, id, type } = operation
    const previous = socket.operations.get(id)
    if (previous) previous.isSuperseded = true
    socket.operations.set(id, operation)
    if (type !== 'subscription') socket.connection.operationBegins()
    return operation
  }

  /** Does nothing for one that has ended. */
  function end(operation: SocketOperation | undefined): void {
    if (!operation) return
    const { socket, id, type } = operation
    if (socket.operations.get(id) === operation) socket.operations.delete(id)
    if (type !== 'subscription') socket.connection.operationEnds()
  }

  async function execute(args: ExecutionArgs): Promise<ExecutionResult> {
    const operation = asSocketOperation(args)
    const result = await operations.execute(operation)
    if (!operation.isSuperseded) return result
    end(operation)
    return never()
  }

  async function subscribe(args: ExecutionArgs): Promise<AsyncIterable<ExecutionResult>> {
    const operation = asSocketOperation(args)
    const stream = await operations.subscribe(operation).catch((error: unknown) => failedStream(error))
    if (operation.isSuperseded) {
      await stream.return()
      return never()
    }
    return deliver(stream, operation)
  }

  /** graphql-ws asks for the next result when it has written the one before; where results are pushed, only once. */
  function deliver(stream: ResultStream, operation: SocketOperation) {
    const { observer } = stream
    const { connection } = operation.socket
    let sent: StreamedResult | undefined

    function settleSent(): void {
      if (!sent) return
      const event = sent[sourceEvent]
      sent = undefined
      if (connection.isBroken) failed(event, 'websocket', metrics)
      if (!connection.isOpen) return
      written(event, observer, 'websocket', metrics)
      if (observer.wantsConfirmation) connection.confirmations.whenReceived(() => observer.confirmed?.(event))
    }

    const results = {
      async next(): Promise<Next> {
        try {
          settleSent()
          // What is sent now goes nowhere, at once: without an end this loop would never let go.
          if (!connection.isOpen) return stream.return()
          if (stream.pushTo) {
            await stream.pushTo(createResultSink(connection, operation.id, observer, metrics))
            return operation.isSuperseded ? never() : { done: true, value: undefined }
          }
          const next = await stream.next()
          if (operation.isSuperseded) return never()
          sent = next.value
          return next
        } catch (error) {
          const { requestId } = operation.contextValue
          if (!mayPass(error)) {
            const formatted = formatError(error, requestId, logger)
            // A cursor that was refused is for the client to drop, and it has no other way to on this socket.
            if (isCursorError(formatted)) operation.socket.resumeAfter = null
            throw formatted
          }
          logger.warn({ err: error, requestId }, 'a subscription failed because of what may pass')
          connection.close(closeCodes.tryAgain, 'try again later')
          return { done: true, value: undefined }
        }
      },
      return: (): Promise<Next> => stream.return(),
      [Symbol.asyncIterator]: () => results,
    }
    return results
  }

  return { begin, end, execute, subscribe }
}

function isCursorError({ extensions: { code } }: GraphQLError): boolean {
  return code === 'CURSOR_INVALID' || code === 'CURSOR_EXPIRED'
}

/** graphql-ws would take the outcome for that of the operation that has the id now, so it gets to see none. */
function never(): Promise<never> {
  return new Promise(() => {})
}

/** A subscription that did not begin ends as one that failed later does. */
function failedStream(error: unknown): ResultStream {
  const stream: ResultStream = {
    observer: {},
    next: () => Promise.reject(error),
    return: () => Promise.resolve({ done: true, value: undefined }),
    [Symbol.asyncIterator]: () => stream,
  }
  return stream
}

function asSocketOperation(args: ExecutionArgs): SocketOperation {
  if (args instanceof SocketOperation) return args
  throw new TypeError('not an operation of a WebSocket')
}
