// The operations of WebSockets while they run: between graphql-ws, which holds one per id, and operations.ts.
import { randomUUID } from 'node:crypto'
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
import { ResultSink } from './push-results.ts'
import { type ResultStream, type StreamedResult, sourceEvent } from './subscribe-operation.ts'

/** What a socket's operations share. */
export interface Socket {
  connection: WebSocketConnection
  viewer: Viewer | null
  resumeAfter: string | null
  /** Those under way: a few, as a rule one. */
  operations: SocketOperation[]
}

/** The one under way with the id that the client chose. */
export function operationOf({ operations }: Socket, id: string): SocketOperation | undefined {
  return operations.find((operation) => operation.id === id)
}

export class SocketContext implements Context {
  readonly viewer: Viewer | null
  readonly logger: Logger
  readonly resumeAfter: string | null
  #requestId: string | undefined

  constructor({ viewer, resumeAfter }: Socket, logger: Logger) {
    this.viewer = viewer
    this.logger = logger
    this.resumeAfter = resumeAfter
  }

  get transport(): 'websocket' {
    return 'websocket'
  }

  /** Made for who needs it: a subscription would hold on to 600 bytes. */
  get requestId(): string {
    this.#requestId ??= randomUUID()
    return this.#requestId
  }
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
    const previous = operationOf(socket, id)
    if (previous) {
      previous.isSuperseded = true
      remove(previous)
    }
    socket.operations.push(operation)
    if (type !== 'subscription') socket.connection.operationBegins()
    return operation
  }

  /** Does nothing for one that has ended. */
  function end(operation: SocketOperation | undefined): void {
    if (!operation) return
    const { socket, type } = operation
    remove(operation)
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
    return new Delivery(stream, operation, metrics, logger)
  }

  return { begin, end, execute, subscribe }
}

function remove(operation: SocketOperation): void {
  const { operations } = operation.socket
  const index = operations.indexOf(operation)
  if (index >= 0) operations.splice(index, 1)
}

/** graphql-ws asks for the next result when it has written the one before; where results are pushed, only once. */
class Delivery implements AsyncIterableIterator<ExecutionResult, undefined> {
  readonly #stream: ResultStream
  readonly #operation: SocketOperation
  readonly #metrics: TransportMetrics
  readonly #logger: Logger
  #sent: StreamedResult | undefined

  constructor(stream: ResultStream, operation: SocketOperation, metrics: TransportMetrics, logger: Logger) {
    this.#stream = stream
    this.#operation = operation
    this.#metrics = metrics
    this.#logger = logger
  }

  async next(): Promise<Next> {
    const stream = this.#stream
    const operation = this.#operation
    const { connection } = operation.socket
    try {
      await this.#settleSent()
      // What is sent now goes nowhere, at once: without an end this loop would never let go.
      if (!connection.isOpen) return stream.return()
      if (stream.isPushed) {
        await stream.observer.pushTo?.(new ResultSink(connection, operation.id, stream, this.#metrics))
        return operation.isSuperseded ? never() : { done: true, value: undefined }
      }
      const next = await stream.next()
      if (operation.isSuperseded) return never()
      this.#sent = next.value
      return next
    } catch (error) {
      return this.#fail(error)
    }
  }

  return(): Promise<Next> {
    return this.#stream.return()
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async #settleSent(): Promise<void> {
    if (!this.#sent) return
    const event = this.#sent[sourceEvent]
    this.#sent = undefined
    const { connection } = this.#operation.socket
    await connection.written()
    const { observer } = this.#stream
    if (connection.isBroken) failed(event, 'websocket', this.#metrics)
    if (!connection.isOpen) return
    written(event, observer, 'websocket', this.#metrics)
    if (observer.wantsConfirmation) connection.confirmations.whenReceived(() => observer.confirmed?.(event))
  }

  /** Throws what is final, for graphql-ws to tell the client; what may pass closes the connection. */
  #fail(error: unknown): Next {
    const { socket, contextValue } = this.#operation
    if (!mayPass(error)) {
      const formatted = formatError(error, contextValue.requestId, this.#logger)
      // A cursor that was refused is for the client to drop, and it has no other way to on this socket.
      if (isCursorError(formatted)) socket.resumeAfter = null
      throw formatted
    }
    const { requestId } = contextValue
    this.#logger.warn({ err: error, requestId }, 'a subscription failed because of what may pass')
    socket.connection.close(closeCodes.tryAgain, 'try again later')
    return { done: true, value: undefined }
  }
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
    isPushed: false,
    toJson: () => '',
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
