// Who wants to read their log at the same time reads it in one statement, first come, first served, and a few statements at
// a time: after a server was killed thousands come back at once, and sends and health need the database too. What waits is
// in memory alone and holds nothing.
import { CarillonError } from '../errors.ts'
import { isTransient } from '../postgres.ts'
import { type Log, type LogPage, logsPerReadMax, type ReadOptions, type ReadRequest } from './log.ts'

/**
 * Statements at a time in one process, so that sends and health find a connection of the pool (`poolConnectionsMax`) free.
 * The second and further ones are for when more wait than one statement takes, or for longer than it should.
 */
export const readsInFlightMax = 6
/**
 * Between statements that are not full, so that of a crowd many share one: of connecting it saves a tenth of Node's time
 * and a quarter of PostgreSQL's (docs/BENCHMARKS.md).
 */
export const gatherMs = 5
/** So many may come without that, until there was as much time as for all of them: who comes alone waits for nothing. */
export const burstMax = 8
/** A statement takes a few milliseconds. One that takes longer, or gets no answer at all, must not hold up the others. */
export const waitMsMax = 50
/** A read that failed after so long found a silent database. Those behind it would wait as long, one after the other. */
export const silentReadMs = 2_000

/** Whose log is read. */
export interface Reader {
  readonly userId: string
  /** Called when its statement is about to begin: where it reads from. */
  beginRead(): ReadOptions
}

export interface LogReads {
  /**
   * The page; undefined where it was cancelled before its statement began. Fails with what the database failed with, and
   * with UNAVAILABLE, unread, where the database was silent for those before it.
   */
  read(reader: Reader): Promise<LogPage | undefined>
  /** It has ended: it need not be read any more, if it waits. */
  cancel(reader: Reader): void
}

interface Waiting {
  resolve(page: LogPage | undefined): void
  reject(error: unknown): void
}

export function createLogReads(log: Pick<Log, 'read'>): LogReads {
  /** In the order in which they came. */
  const waiting = new Map<Reader, Waiting>()
  let inFlight = 0
  let beganAt = 0
  /** When those that have begun would have, had each waited for its time. */
  let paidUntil = 0
  let timer: NodeJS.Timeout | undefined

  function begin(): void {
    clearTimeout(timer)
    while (waiting.size >= logsPerReadMax) if (!beginOne()) return
    if (waiting.size === 0) return
    const now = performance.now()
    const waitMs = inFlight === 0 ? paidUntil - (burstMax - 1) * gatherMs - now : beganAt + waitMsMax - now
    if (waitMs <= 0) beginOne()
    else timer = setTimeout(begin, waitMs)
  }

  /** False where it may not, or nobody waits. */
  function beginOne(): boolean {
    if (waiting.size === 0 || inFlight >= readsInFlightMax) return false
    const group: (Waiting & { request: ReadRequest })[] = []
    for (const [reader, { resolve, reject }] of waiting) {
      if (group.length === logsPerReadMax) break
      waiting.delete(reader)
      group.push({ request: { userId: reader.userId, ...reader.beginRead() }, resolve, reject })
    }
    inFlight++
    beganAt = performance.now()
    paidUntil = Math.max(paidUntil, beganAt) + gatherMs
    void readGroup(group).finally(() => {
      inFlight--
      begin()
    })
    return true
  }

  /** Settles each of them. Never rejects. */
  async function readGroup(group: readonly (Waiting & { request: ReadRequest })[]): Promise<void> {
    const startedAt = performance.now()
    try {
      const pages = await log.read(group.map(({ request }) => request))
      for (const [index, { resolve }] of group.entries()) resolve(pages[index])
    } catch (error) {
      if (!isTransient(error) && group.length > 1) {
        // One of the logs is at fault, and the others must not pay for it.
        for (const one of group) await readGroup([one])
        return
      }
      for (const { reject } of group) reject(error)
      if (isTransient(error) && performance.now() - startedAt >= silentReadMs) giveUpAll()
    }
  }

  function giveUpAll(): void {
    const all = [...waiting.values()]
    waiting.clear()
    for (const { reject } of all) reject(unreadable())
  }

  return {
    read(reader) {
      return new Promise((resolve, reject) => {
        waiting.set(reader, { resolve, reject })
        begin()
      })
    },
    cancel(reader) {
      const waits = waiting.get(reader)
      waiting.delete(reader)
      waits?.resolve(undefined)
    },
  }
}

export function unreadable(cause?: unknown): CarillonError {
  return new CarillonError('UNAVAILABLE', 'the log can not be read at the moment; try again later', {}, cause)
}
