// The hot path of a WebSocket: the results of a subscription whose source pushes its events go out as frames of the
// protocol without a promise and an iteration for each. Everything else of the protocol stays with graphql-ws, which waits
// meanwhile for the subscription to end (socket-operations.ts). What that buys is in docs/BENCHMARKS.md.
import type { TransportMetrics } from '../connections/transport-metrics.ts'
import type { PushSender, WebSocketConnection } from '../connections/websocket-connection.ts'
import { failed, written } from './delivered.ts'
import type { ResultStream, Sink } from './subscribe-operation.ts'

export class ResultSink implements Sink, PushSender {
  readonly #connection: WebSocketConnection
  readonly #stream: ResultStream
  readonly #metrics: TransportMetrics
  readonly #start: string

  constructor(connection: WebSocketConnection, id: string, stream: ResultStream, metrics: TransportMetrics) {
    this.#connection = connection
    this.#stream = stream
    this.#metrics = metrics
    this.#start = `{"id":${JSON.stringify(id)},"type":"next","payload":`
  }

  get hasRoom(): boolean {
    return this.#connection.hasRoom
  }

  whenRoom(callback: () => void): void {
    this.#connection.whenRoom(callback)
  }

  take(event: unknown): void {
    this.#connection.push(`${this.#start}${this.#stream.toJson(event)}}`, this, event)
  }

  written(event: unknown): void {
    const { observer } = this.#stream
    const connection = this.#connection
    if (connection.isBroken) failed(event, 'websocket', this.#metrics)
    if (!connection.isOpen) return
    written(event, observer, 'websocket', this.#metrics)
    if (observer.wantsConfirmation) connection.confirmations.whenReceived(() => observer.confirmed?.(event))
  }
}
