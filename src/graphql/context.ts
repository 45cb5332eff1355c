// What a resolver is given beside its arguments: who asks, and under which request id.
import type { Viewer } from '../auth.ts'
import type { Logger } from '../logger.ts'

export interface Context {
  /** Null without a token, where only `__typename` and introspection answer. */
  viewer: Viewer | null
  requestId: string
  logger: Logger
  transport: 'http' | 'sse' | 'websocket'
  /** The newest cursor of a client that reconnects: `connectionParams.after`, or `Last-Event-ID` over SSE. */
  resumeAfter: string | null
}
