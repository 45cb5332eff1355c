// What the transports count. Implemented over the metrics of the operating contract by the composition root.

/** Those that hold a connection open. */
export type Transport = 'websocket' | 'sse'

export type Rejection = 'server_limit' | 'user_limit' | 'origin' | 'unauthenticated' | 'unavailable' | 'draining'

export interface TransportMetrics {
  opened(transport: Transport): void
  closed(transport: Transport): void
  /** A connection was refused, or ended before it could subscribe. */
  rejected(reason: Rejection): void
  /**
   * A notification was handed over to the operating system. When it was accepted, by the database's clock; null for one
   * that was replayed, since it waited for its reader.
   */
  delivered(transport: Transport, acceptedAt: number | null): void
  /** The write of a notification broke. It comes again on the next connection. */
  failed(transport: Transport): void
  /** A connection was closed because its reader made no progress. */
  slowConsumer(transport: Transport): void
}
