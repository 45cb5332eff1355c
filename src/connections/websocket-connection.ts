// One WebSocket: writes with back pressure, closes once, sends nothing after its token expired, and notices a peer that
// is gone (no pong) or that does not read (no progress). The protocol on top of it is graphql/websocket.ts.
// Messages, all of one turn in one write, and pings go to the stream below `ws` (frames.ts): without compression `ws`
// writes each of its own frames at once too, so that whole frames follow each other.
import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import { type Confirmations, createConfirmations } from './confirmations.ts'
import type { Connection } from './connections.ts'
import type { Deadlines } from './deadlines.ts'
import { pingFrame, textFrames } from './frames.ts'
import type { Beating } from './heartbeat.ts'
import type { TransportMetrics } from './transport-metrics.ts'

/** A reader that takes nothing for so long is gone or hopeless; what it misses waits in the log. */
export const slowReaderCloseMs = 30_000
/** The operating system holds what a reader has not read yet: it gets that much longer for it, up to the maximum. */
const slowestCharactersPerMs = 0.5
const slowReaderMoreMsMax = 120_000
/** A pong behind less than that is back in time from the slowest reader; behind more it may take `slowReaderCloseMs`. */
const slowCharactersMin = 4 * 1024
/** How long the closing handshake may take. */
const closeMsMax = 5_000
/** Above this nothing more is read from a peer until it has taken its answers. */
const bufferedBytesMax = 1024 * 1024
/** What is pushed stops above this until the operating system has taken it: a large write, and little for a slow reader. */
const roomBytes = 64 * 1024
/** Connections that are written to at once. */
const flushedTogetherMax = 64
/** Queries and mutations of one socket at a time. Above it the next ones wait in its buffers, and the peer with them. */
const operationsInFlightMax = 256

export const closeCodes = {
  restart: 1012,
  tryAgain: 1013,
  badRequest: 4400,
  forbidden: 4403,
} as const

/** Of a position among all that was written, which a ping of ours carries and its pong brings back. */
const positionBytes = 6

/** Who pushes. */
export interface PushSender {
  /** In the order of the events, and not at all for what was not sent. */
  written(event: unknown): void
}

interface Options {
  deadlines: Deadlines
  metrics: TransportMetrics
  slowReaderMs?: number
}

export class WebSocketConnection implements Connection, Beating {
  readonly transport = 'websocket'
  readonly #socket: WebSocket
  readonly #stream: Duplex
  readonly #options: Options
  #expiresAt = Number.POSITIVE_INFINITY
  #cancelExpiry: (() => void) | undefined
  #pendingWrites = 0
  /** Since when the oldest pending write has made no progress. */
  #stalledSince = 0
  /** In this turn. Nothing in between: what an old object holds on to costs the garbage collector. */
  #pushed: { text: string; sender: PushSender | undefined; event: unknown }[] | undefined
  #pushedCharacters = 0
  #waitingForRoom: (() => void)[] | undefined
  #confirmations: Confirmations | undefined
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

  /** `stream` is the one below the socket. The caller tells it what the socket's events are. */
  constructor(socket: WebSocket, stream: Duplex, options: Options) {
    this.#socket = socket
    this.#stream = stream
    this.#options = options
  }

  get confirmations(): Confirmations {
    this.#confirmations ??= createConfirmations((payload) => this.#ping(payload))
    return this.#confirmations
  }

  /** Of the socket's events: `message` and `ping`. A sign of life, while its pong waits behind what it has not read yet. */
  heard(): void {
    this.#pingedAt = undefined
  }

  /** `pong`. */
  heardPong(payload: Buffer): void {
    this.#pingedAt = undefined
    if (payload.length === positionBytes) this.#read = Math.max(this.#read, payload.readUIntBE(0, positionBytes))
    this.#confirmations?.pong(payload)
  }

  /** `close`. */
  closed(code: number, reason: string): void {
    this.#closing(code, reason)
  }

  get isOpen(): boolean {
    return this.#closedAt === undefined && !this.isBroken
  }

  /** From then on nothing is sent and the socket is closed with 4403. */
  expireAt(at: number): void {
    this.#expiresAt = at
    this.#cancelExpiry = this.#options.deadlines.schedule(at, () => this.#expire())
  }

  /**
   * All of one turn go in one write. `sender` is told of `event` once the operating system has it, or when it can't be
   * sent any more (see `isOpen`).
   */
  push(text: string, sender?: PushSender, event?: unknown): void {
    if (Date.now() >= this.#expiresAt) this.#expire()
    if (!this.isOpen) return
    this.#pushedCharacters += text.length
    if (this.#pushed) {
      this.#pushed.push({ text, sender, event })
    } else {
      this.#pushed = [{ text, sender, event }]
      flushAtEndOfTurn(this)
    }
  }

  /** Resolves when the operating system has all that was pushed, or when it can't be sent any more. Never rejects. */
  async written(): Promise<void> {
    this.flush()
    if (this.#pendingWrites > 0) await new Promise<void>((resolve) => this.#stream.write('', () => resolve()))
  }

  /** Whether more may be pushed; never again once it closes. */
  get hasRoom(): boolean {
    return this.isOpen && this.#pushedCharacters + this.#socket.bufferedAmount < roomBytes
  }

  /** Calls back once, as soon as there is room; never where it closes before that. */
  whenRoom(callback: () => void): void {
    this.#waitingForRoom ??= []
    this.#waitingForRoom.push(callback)
  }

  /** The first call counts. */
  close(code: number, reason: string): void {
    this.flush()
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
      this.#ping(positionOf(this.#written))
    } else {
      const unread = this.#writtenAtPing - this.#read
      const moreMs = Math.min(unread / slowestCharactersPerMs, slowReaderMoreMsMax)
      if (unread < slowCharactersMin) this.terminate()
      // The operating system has taken it all, and the reader has not.
      else if (now - this.#pingedAt >= slowReaderMs + moreMs) this.#giveUp()
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

  /** Writes what was pushed. */
  flush(): void {
    const pushed = this.#pushed
    if (!pushed) return
    this.#pushed = undefined
    const characters = this.#pushedCharacters
    this.#pushedCharacters = 0
    if (!this.isOpen) return
    this.#writeBegins(characters)
    this.#stream.write(textFrames(pushed), (error) => {
      this.#writeEnds(error)
      for (const { sender, event } of pushed) sender?.written(event)
    })
    this.#regulateReading()
  }

  #writeBegins(characters: number): void {
    this.#written += characters
    if (this.#pendingWrites++ === 0) this.#stalledSince = performance.now()
  }

  #writeEnds(error: Error | null | undefined): void {
    this.#pendingWrites -= 1
    this.#stalledSince = performance.now()
    if (error) this.isBroken = true
    this.#regulateReading()
    if (!this.#waitingForRoom || !this.hasRoom) return
    const waiting = this.#waitingForRoom
    this.#waitingForRoom = undefined
    for (const callback of waiting) callback()
  }

  #ping(payload: Buffer): void {
    this.flush()
    // Fails only where the socket does, which its `close` event tells.
    if (this.isOpen) this.#stream.write(pingFrame(payload), () => {})
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

/** Those that have something pushed. */
let pushedTo: WebSocketConnection[] = []

/** Where one turn delivers to thousands, what they get must not pile up: it would leave the processor's cache. */
function flushAtEndOfTurn(connection: WebSocketConnection): void {
  const count = pushedTo.push(connection)
  if (count === 1) process.nextTick(flushAll)
  else if (count === flushedTogetherMax) flushAll()
}

function flushAll(): void {
  const connections = pushedTo
  pushedTo = []
  for (const connection of connections) connection.flush()
}

function positionOf(characters: number): Buffer {
  const payload = Buffer.allocUnsafe(positionBytes)
  payload.writeUIntBE(characters, 0, positionBytes)
  return payload
}
