// One response that carries server-sent events: writes with back pressure, is broken off rather than ended where the
// client is to come back, and notices a reader that makes no progress. What it carries is graphql/sse.ts.
import type { ServerResponse } from 'node:http'
import type { Connection } from './connections.ts'
import type { Deadlines } from './deadlines.ts'
import type { Beating } from './heartbeat.ts'
import type { TransportMetrics } from './transport-metrics.ts'
import { slowReaderCloseMs } from './websocket-connection.ts'

interface Options {
  deadlines: Deadlines
  metrics: TransportMetrics
  slowReaderMs?: number
}

const headers = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache, no-transform',
  // nginx would hold events back until its buffer is full.
  'x-accel-buffering': 'no',
}

export class SseConnection implements Connection, Beating {
  readonly transport = 'sse'
  readonly #response: ServerResponse
  readonly #options: Options
  #expiresAt = Number.POSITIVE_INFINITY
  #pendingWrites = 0
  #stalledSince = 0
  /** True once a write failed: what was sent last may not have arrived. */
  isBroken = false

  constructor(response: ServerResponse, options: Options) {
    this.#response = response
    this.#options = options
  }

  get isOpen(): boolean {
    return !this.#response.destroyed && !this.#response.writableEnded
  }

  /** From then on nothing is sent and the response is broken off. */
  expireAt(at: number): void {
    this.#expiresAt = at
    this.#response.on(
      'close',
      this.#options.deadlines.schedule(at, () => this.terminate()),
    )
  }

  begin(): Promise<void> {
    if (!this.isOpen) return Promise.resolve()
    this.#response.writeHead(200, headers)
    // Some proxies and browsers wait for the first byte of the body.
    return this.write(':\n\n')
  }

  /** Resolves when the operating system has it, or when it can't be sent any more (see `isOpen`). Never rejects. */
  write(text: string): Promise<void> {
    if (Date.now() >= this.#expiresAt) this.terminate()
    if (!this.isOpen) return Promise.resolve()
    if (this.#pendingWrites++ === 0) this.#stalledSince = performance.now()
    return new Promise((resolve) => {
      // Of a write that had not begun by then it says nothing.
      const abandon = () => {
        this.isBroken = true
        resolve()
      }
      this.#response.once('close', abandon)
      this.#response.write(text, (error) => {
        this.#response.off('close', abandon)
        this.#pendingWrites -= 1
        this.#stalledSince = performance.now()
        // Node says so without an error of a write that was under way when the response was destroyed.
        if (error || this.#response.destroyed) this.isBroken = true
        resolve()
      })
    })
  }

  /** Tells the client that there is no more to come. */
  end(): void {
    if (this.isOpen) this.#response.end()
  }

  /** Breaks off, which tells the client to come back. */
  drain(): void {
    this.terminate()
  }

  terminate(): void {
    this.#response.destroy()
  }

  beat(now: number): void {
    const { metrics, slowReaderMs = slowReaderCloseMs } = this.#options
    if (this.#pendingWrites === 0) {
      if (this.#response.headersSent) void this.write(':\n\n')
    } else if (now - this.#stalledSince >= slowReaderMs) {
      metrics.slowConsumer(this.transport)
      this.terminate()
    }
  }
}
