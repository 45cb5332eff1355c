// One WebSocket: writes with back pressure, closes once, sends nothing after its token expired, and notices a peer that
// is gone (no pong) or that does not read (no progress). The protocol on top of it is graphql/websocket.ts.
import type { WebSocket } from 'ws'
import { type Confirmations, createConfirmations } from './confirmations.ts'
import type { Connection } from './connections.ts'
import type { Deadlines } from './deadlines.ts'
import type { Beating } from './heartbeat.ts'
import type { TransportMetrics } from './transport-metrics.ts'

/** A reader that takes nothing for so long is gone or hopeless; what it misses waits in the log. */
export const slowReaderCloseMs = 30_000
/** A pong behind less than that is back in time from the slowest reader; behind more it may take `slowReaderCloseMs`. */
const slowCharactersMin = 4 * 1024
/** How long the closing handshake may take. */
const closeMsMax = 5_000
/** Above this nothing more is read from a peer until it has taken its answers. */
const bufferedBytesMax = 1024 * 1024
/** Queries and mutations of one socket at a time. Above it the next ones wait in its buffers, and the peer with them. */
const operationsInFlightMax = 256

export const closeCodes = {
  restart: 1012,
  tryAgain: 1013,
  badRequest: 4400,
  forbidden: 4403,
} as const

interface Options {
  deadlines: Deadlines
  metrics: TransportMetrics
  slowReaderMs?: number
}

export class WebSocketConnection implements Connection, Beating {
  readonly transport = 'websocket'
  readonly confirmations: Confirmations
  readonly #socket: WebSocket
  readonly #options: Options
  #expiresAt = Number.POSITIVE_INFINITY
  #cancelExpiry: (() => void) | undefined
  #pendingWrites = 0
  /** Since when the oldest pending write has made no progress. */
  #stalledSince = 0
  #operationsInFlight = 0
  /** Since when a ping has waited for its answer; undefined while none does. */
  #pingedAt: number | undefined
  /** Characters: all that were written, those ahead of the last ping, and those that are known to have been read. */
  #written = 0
  #writtenAtPing = 0
  #read = 0
  #isDraining = false
  #closedAt: number | undefined
  /** True once a write failed: what was sent last may not have arrived. */
  isBroken = false
  /** Called once, as soon as either side closes: whatever feeds the connection must end without waiting for the other. */
  onClosing: (code: number, reason: string) => void = () => {}

  constructor(socket: WebSocket, options: Options) {
    this.#socket = socket
    this.#options = options
    this.confirmations = createConfirmations((payload) => this.#ping(payload))
    socket.on('pong', (payload) => {
      this.#pingedAt = undefined
      this.#read = this.#writtenAtPing
      this.confirmations.pong(payload)
    })
    // Whatever it says is a sign of life, while its pong waits behind what it has not read yet.
    for (const event of ['message', 'ping']) {
      socket.on(event, () => {
        this.#pingedAt = undefined
      })
    }
    socket.on('close', (code, reason) => this.#closing(code, String(reason)))
  }

  get isOpen(): boolean {
    return this.#closedAt === undefined && !this.isBroken
  }

  /** From then on nothing is sent and the socket is closed with 4403. */
  expireAt(at: number): void {
    this.#expiresAt = at
    this.#cancelExpiry = this.#options.deadlines.schedule(at, () => this.#expire())
  }

  /** Resolves when the operating system has it, or when it can't be sent any more (see `isOpen`). Never rejects. */
  send(text: string): Promise<void> {
    if (Date.now() >= this.#expiresAt) this.#expire()
    if (!this.isOpen) return Promise.resolve()
    this.#written += text.length
    if (this.#pendingWrites++ === 0) this.#stalledSince = performance.now()
    return new Promise((resolve) => {
      this.#socket.send(text, (error) => {
        this.#pendingWrites -= 1
        this.#stalledSince = performance.now()
        if (error) this.isBroken = true
        this.#regulateReading()
        resolve()
      })
      this.#regulateReading()
    })
  }

  /** The first call counts. */
  close(code: number, reason: string): void {
    if (!this.#closing(code, reason)) return
    this.#socket.close(code, reason)
    // A peer that was held back must be read again, or its half of the closing handshake is never seen.
    if (this.#socket.isPaused) this.#socket.resume()
  }

  terminate(): void {
    this.#socket.terminate()
  }

  /** Closes with 1012 once the queries and mutations in flight have been answered. */
  drain(): void {
    this.#isDraining = true
    if (this.#operationsInFlight === 0) this.close(closeCodes.restart, 'the server restarts')
  }

  operationBegins(): void {
    this.#operationsInFlight += 1
    this.#regulateReading()
  }

  operationEnds(): void {
    this.#operationsInFlight -= 1
    this.#regulateReading()
    // Later than now: the protocol still has to say that the operation is complete, or clients carry it out again.
    if (this.#isDraining) setImmediate(() => this.drain())
  }

  beat(now: number): void {
    const { slowReaderMs = slowReaderCloseMs } = this.#options
    if (this.#closedAt !== undefined) {
      if (now - this.#closedAt >= closeMsMax) this.terminate()
    } else if (this.#pendingWrites > 0) {
      // Its pong would wait behind what it has not read yet.
      if (now - this.#stalledSince >= slowReaderMs) this.#giveUp()
    } else if (this.#pingedAt === undefined || this.#socket.isPaused) {
      this.#pingedAt = now
      this.#writtenAtPing = this.#written
      this.#ping(Buffer.alloc(0))
    } else if (this.#writtenAtPing - this.#read < slowCharactersMin) {
      this.terminate()
    } else if (now - this.#pingedAt >= slowReaderMs) {
      // The operating system has taken it all, and the reader has not.
      this.#giveUp()
    }
  }

  #giveUp(): void {
    this.#options.metrics.slowConsumer(this.transport)
    this.close(closeCodes.tryAgain, 'reading too slowly')
  }

  #closing(code: number, reason: string): boolean {
    if (this.#closedAt !== undefined) return false
    this.#closedAt = performance.now()
    this.#cancelExpiry?.()
    this.onClosing(code, reason)
    return true
  }

  #expire(): void {
    this.close(closeCodes.forbidden, 'Forbidden')
  }

  #ping(payload: Buffer): void {
    // Fails only where the socket does, which its `close` event tells.
    if (this.isOpen) this.#socket.ping(payload, false, () => {})
  }

  #regulateReading(): void {
    const { bufferedAmount, isPaused } = this.#socket
    const isBusy = bufferedAmount > bufferedBytesMax || this.#operationsInFlight > operationsInFlightMax
    if (isBusy === isPaused || this.#closedAt !== undefined) return
    if (isBusy) {
      this.#socket.pause()
    } else {
      // Its pong may be among what was not read meanwhile.
      this.#pingedAt = undefined
      this.#socket.resume()
    }
  }
}
