// What stands between two ends of a TCP connection and breaks it: a proxy that cuts connections off, refuses new ones,
// lets nothing pass in one direction or both, delays what passes, or slows it down. Nothing that passes is ever changed,
// lost in the middle or reordered, since TCP wouldn't do that either.
import { once } from 'node:events'
import { createConnection, createServer, type Socket } from 'node:net'

export type Direction = 'toServer' | 'toClient'

export interface Impairment {
  /** Default: both. */
  direction?: Direction
  /** Only connections whose client began with a text that fits, and only once it has said so. Default: all. */
  which?: RegExp
  /** Only the connections that there are now. */
  isOld?: boolean
  /** Nothing passes, the end of the connection neither, until it is lifted. */
  blackhole?: boolean
  /** Each byte that much later. */
  delayMs?: number
  bytesPerSecond?: number
}

export interface TcpProxy extends AsyncDisposable {
  readonly port: number
  /** With the protocol of the first target. */
  readonly url: string
  /** The target that the next connection goes to, unless it does not answer. */
  readonly next: string
  /** Breaks off every connection that there is, on both sides; of those that fit `which` only. */
  cut(which?: RegExp): void
  /** From now on connections end as soon as they are made. */
  refuse(): void
  accept(): void
  /** From now on, until the result is called. */
  impair(impairment: Impairment): () => void
  /** From now on new connections go to these. */
  retarget(targets: readonly string[]): void
  /** What is on its way to clients, as text. */
  readonly held: string
  readonly connections: number
}

/** Beyond it the sender has to wait, as it would for a network. */
const heldBytesMax = 64 * 1024
/** Enough to know a connection by: the handshake of PostgreSQL and Redis, the first line of HTTP. */
const greetingCharactersMax = 1_000
/** A throttled connection is served so often. */
const throttleTickMs = 50

/** Connections go to the targets (addresses with host and port) in turn, past those that nothing listens at. */
export async function startProxy({ targets }: { targets: readonly string[] }): Promise<TcpProxy> {
  const pairs = new Set<Pair>()
  const impairments = new Set<(pair: Pair, direction: Direction) => Impairment | undefined>()
  let current = targets
  let turn = 0
  let isRefusing = false
  const targetAt = (place: number) => current[place % current.length] ?? ''

  // Or the end of one direction would be answered by the proxy itself, however silent the other end is.
  const server = createServer({ allowHalfOpen: true }, async (near) => {
    near.on('error', () => near.destroy())
    if (isRefusing) return void near.destroy()
    const far = await connect(targetAt, turn, current.length)
    if (!far || near.destroyed || isRefusing) {
      near.destroy()
      far?.socket.destroy()
      return
    }
    turn = far.place + 1
    const pair = new Pair(near, far.socket, (direction) =>
      [...impairments].flatMap((applies) => applies(pair, direction) ?? []),
    )
    pairs.add(pair)
    pair.onEnd = () => pairs.delete(pair)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const { port } = address

  function cut(which = /(?:)/): void {
    for (const pair of pairs) if (which.test(pair.greeting)) pair.destroy()
  }

  return {
    port,
    get url() {
      const url = new URL(targetAt(0))
      url.port = String(port)
      return url.href.replace(/\/$/, '')
    },
    get next() {
      return targetAt(turn)
    },
    cut,
    refuse() {
      isRefusing = true
    },
    accept() {
      isRefusing = false
    },
    impair(impairment) {
      const { direction, which, isOld = false } = impairment
      const old = isOld ? new Set(pairs) : undefined
      const applies = (pair: Pair, on: Direction) => {
        const fits = (direction ?? on) === on && (which?.test(pair.greeting) ?? true) && (old?.has(pair) ?? true)
        return fits ? impairment : undefined
      }
      impairments.add(applies)
      return () => {
        impairments.delete(applies)
        for (const pair of pairs) pair.carryOn()
      }
    },
    retarget(newTargets) {
      current = newTargets
    },
    get held() {
      return [...pairs].map((pair) => pair.held).join('')
    },
    get connections() {
      return pairs.size
    },
    async [Symbol.asyncDispose]() {
      isRefusing = true
      cut()
      server.close()
      await once(server, 'close')
    },
  }
}

type Impairments = (direction: Direction) => Impairment[]

/** A client's connection, and the one to the target that stands for it. */
class Pair {
  greeting = ''
  onEnd = () => {}
  readonly #sockets: readonly Socket[]
  readonly #toServer: Lane
  readonly #toClient: Lane

  constructor(near: Socket, far: Socket, impairments: Impairments) {
    this.#sockets = [near, far]
    near.on('data', (chunk: Buffer) => {
      if (this.greeting.length < greetingCharactersMax) this.greeting += chunk.toString('latin1')
    })
    this.#toServer = new Lane(near, far, () => impairments('toServer'))
    this.#toClient = new Lane(far, near, () => impairments('toClient'))
    for (const socket of this.#sockets) {
      socket.setNoDelay(true)
      socket.on('error', () => socket.destroy())
      socket.on('close', () => {
        if (this.#sockets.every(({ destroyed }) => destroyed)) this.onEnd()
      })
    }
  }

  get held(): string {
    return this.#toClient.held
  }

  carryOn(): void {
    this.#toServer.carryOn()
    this.#toClient.carryOn()
  }

  destroy(): void {
    for (const socket of this.#sockets) socket.destroy()
  }
}

/** One direction of a connection. Its end is the last thing that passes. */
class Lane {
  readonly #from: Socket
  readonly #to: Socket
  readonly #impairments: () => Impairment[]
  #queue: { chunk: Buffer; at: number }[] = []
  #bytes = 0
  #hasEnded = false
  #isRunning = false
  #wake: (() => void) | undefined

  constructor(from: Socket, to: Socket, impairments: () => Impairment[]) {
    this.#from = from
    this.#to = to
    this.#impairments = impairments
    from.on('data', (chunk: Buffer) => {
      this.#queue.push({ chunk, at: performance.now() })
      this.#bytes += chunk.length
      if (this.#bytes > heldBytesMax) from.pause()
      void this.#run()
    })
    for (const event of ['end', 'close']) {
      from.on(event, () => {
        this.#hasEnded = true
        void this.#run()
      })
    }
    to.on('drain', () => this.carryOn())
    to.on('close', () => this.carryOn())
  }

  get held(): string {
    return Buffer.concat(this.#queue.map(({ chunk }) => chunk)).toString()
  }

  carryOn(): void {
    this.#wake?.()
  }

  async #run(): Promise<void> {
    if (this.#isRunning) return
    this.#isRunning = true
    while ((this.#queue.length > 0 || this.#hasEnded) && !this.#to.destroyed) {
      const [first] = this.#queue
      const impairments = this.#impairments()
      const dueAt = (first?.at ?? 0) + Math.max(0, ...impairments.map(({ delayMs = 0 }) => delayMs))
      const bytesPerSecond = Math.min(...impairments.map((one) => one.bytesPerSecond ?? Number.POSITIVE_INFINITY))
      if (impairments.some(({ blackhole }) => blackhole) || this.#to.writableNeedDrain) await this.#wait()
      else if (dueAt > performance.now()) await this.#wait(dueAt - performance.now())
      else if (!first) break
      else if (bytesPerSecond < Number.POSITIVE_INFINITY) await this.#trickle(first, bytesPerSecond)
      else this.#hand(first, first.chunk.length)
    }
    this.#isRunning = false
    if (!this.#hasEnded) return
    // What was handed over before still arrives.
    if (this.#from.errored || this.#to.destroyed) this.#to.destroy()
    else if (this.#from.destroyed) this.#to.destroySoon()
    else this.#to.end()
  }

  async #trickle(first: { chunk: Buffer; at: number }, bytesPerSecond: number): Promise<void> {
    const bytes = Math.min(first.chunk.length, Math.max(1, Math.round((bytesPerSecond * throttleTickMs) / 1_000)))
    this.#hand(first, bytes)
    const until = performance.now() + (bytes / bytesPerSecond) * 1_000
    while (performance.now() < until && !this.#to.destroyed) await this.#wait(until - performance.now())
  }

  #hand(first: { chunk: Buffer; at: number }, bytes: number): void {
    this.#to.write(first.chunk.subarray(0, bytes))
    this.#bytes -= bytes
    if (bytes < first.chunk.length) first.chunk = first.chunk.subarray(bytes)
    else this.#queue.shift()
    if (this.#bytes <= heldBytesMax && this.#from.isPaused()) this.#from.resume()
  }

  /** Until something has changed, and no longer than `ms`. */
  #wait(ms?: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = ms === undefined ? undefined : setTimeout(() => this.#wake?.(), ms)
      this.#wake = () => {
        clearTimeout(timer)
        this.#wake = undefined
        resolve()
      }
    })
  }
}

/** To the first target, from this place on, that somebody listens at. */
async function connect(targetAt: (place: number) => string, from: number, count: number) {
  for (let place = from; place < from + count; place++) {
    const port = Number(new URL(targetAt(place)).port)
    const socket = createConnection({ port, host: '127.0.0.1', allowHalfOpen: true })
    try {
      await once(socket, 'connect')
      return { socket, place }
    } catch {
      // Nothing listens there: the next one may.
      socket.destroy()
    }
  }
  return undefined
}
