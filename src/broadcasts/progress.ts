// `broadcastProgress`: a broadcast at once, then as it changes, until it has finished. One query a second reads all that
// somebody in this process watches; nothing runs while nobody does.
import { CarillonError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { type Periodic, startPeriodic } from '../periodic.ts'
import type { Database } from '../postgres.ts'
import type { Broadcast } from './broadcast.ts'
import { findBroadcast, readBroadcasts } from './read.ts'

/** The contract's once a second at most. */
export const progressIntervalMs = 1_000
/** A timer may fire so much early. */
const timerSlackMs = 5

export interface Progress {
  /** Fails with NOT_FOUND. What may pass only delays what comes next. */
  watch(id: string): Promise<ProgressStream>
  stop(): Promise<void>
}

export function createProgress(database: Database, logger: Logger): Progress {
  const watched = new Map<string, Set<ProgressStream>>()
  let polling: Periodic | undefined

  async function poll(): Promise<void> {
    const broadcasts = await readBroadcasts(database, [...watched.keys()])
    for (const broadcast of broadcasts) for (const stream of watched.get(broadcast.id) ?? []) stream.take(broadcast)
  }

  function remove(stream: ProgressStream, id: string): void {
    const streams = watched.get(id)
    streams?.delete(stream)
    if (streams?.size === 0) watched.delete(id)
    if (watched.size > 0) return
    void polling?.stop()
    polling = undefined
  }

  return {
    async watch(id) {
      const broadcast = await findBroadcast(database, id)
      if (!broadcast) throw new CarillonError('NOT_FOUND', 'there is no such broadcast')
      const stream = new ProgressStream(() => remove(stream, broadcast.id))
      const streams = watched.get(broadcast.id) ?? new Set()
      watched.set(broadcast.id, streams.add(stream))
      polling ??= startPeriodic('broadcast-progress', progressIntervalMs, logger, poll)
      stream.take(broadcast)
      return stream
    },
    async stop() {
      for (const streams of watched.values()) for (const stream of streams) await stream.return()
      await polling?.stop()
    },
  }
}

/** Whoever reads slowly gets the newest state, and none in between. */
export class ProgressStream implements AsyncIterableIterator<Broadcast, undefined> {
  readonly #onEnd: () => void
  #newest: Broadcast | undefined
  /** What was last told, to be told of changes alone. */
  #told = ''
  #toldAt = Number.NEGATIVE_INFINITY
  #processed = 0
  #isEnded = false
  #settlePending: ((result: IteratorResult<Broadcast, undefined>) => void) | undefined

  constructor(onEnd: () => void) {
    this.#onEnd = onEnd
  }

  take(broadcast: Broadcast): void {
    if (this.#isEnded) return
    const state = JSON.stringify(broadcast)
    const { sent, failed, skipped, finishedAt } = broadcast
    const processed = sent + failed + skipped
    // A query that began earlier may answer later, and one timer serves those who came at other moments.
    const isTooSoon = performance.now() - this.#toldAt < progressIntervalMs - timerSlackMs
    if (state === this.#told || processed < this.#processed || (isTooSoon && finishedAt === null)) return
    this.#told = state
    this.#toldAt = performance.now()
    this.#processed = processed
    this.#newest = broadcast
    if (finishedAt !== null) this.#end()
    this.#settle()
  }

  /** One call at a time. */
  next(): Promise<IteratorResult<Broadcast, undefined>> {
    return new Promise((resolve) => {
      this.#settlePending = resolve
      this.#settle()
    })
  }

  return(): Promise<IteratorResult<Broadcast, undefined>> {
    this.#newest = undefined
    this.#end()
    this.#settle()
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  #end(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#onEnd()
  }

  #settle(): void {
    const resolve = this.#settlePending
    const value = this.#newest
    if (!resolve || (value === undefined && !this.#isEnded)) return
    this.#settlePending = undefined
    this.#newest = undefined
    resolve(value === undefined ? { done: true, value } : { done: false, value })
  }
}
