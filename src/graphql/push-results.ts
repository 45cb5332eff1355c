// The hot path of a WebSocket: the results of a subscription whose source pushes its events go out as frames of the
// protocol without a promise and an iteration for each. Everything else of the protocol stays with graphql-ws, which waits
// meanwhile for the subscription to end (socket-operations.ts). What that buys is in docs/BENCHMARKS.md.
import type { TransportMetrics } from '../connections/transport-metrics.ts'
import type { WebSocketConnection } from '../connections/websocket-connection.ts'
import { failed, written } from './delivered.ts'
import type { ResultSink, SourceObserver } from './subscribe-operation.ts'

export function createResultSink(
  connection: WebSocketConnection,
  id: string,
  observer: SourceObserver,
  metrics: TransportMetrics,
): ResultSink {
  const start = `{"id":${JSON.stringify(id)},"type":"next","payload":`
  return {
    get hasRoom() {
      return connection.hasRoom
    },
    whenRoom: (callback) => connection.whenRoom(callback),
    take(json, event) {
      connection.push(`${start}${json}}`, () => {
        if (connection.isBroken) failed(event, 'websocket', metrics)
        if (!connection.isOpen) return
        written(event, observer, 'websocket', metrics)
        if (observer.wantsConfirmation) connection.confirmations.whenReceived(() => observer.confirmed?.(event))
      })
    },
  }
}
