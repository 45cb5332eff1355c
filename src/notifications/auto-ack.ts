// autoAck: the server acknowledges in the client's stead what has demonstrably reached it. Collected while the last
// acknowledgement commits, so that a burst costs few statements.
import { setTimeout as delay } from 'node:timers/promises'
import { CarillonError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { type Acknowledge, idsMax } from './acknowledge.ts'

/** Beyond it the rest is left unacknowledged, and comes again on the next connection. */
export const waitingIdsMax = 10_000
/** While the database is away. After so many failures in a row the batch is given up, and comes again likewise. */
export const attemptsMax = 10
export const attemptDelayMs = 500

/** Returns what to call with each notification that has reached the user. */
export function createAutoAck(acknowledge: Acknowledge, userId: string, logger: Logger): (ack: { id: string }) => void {
  let waiting: string[] = []
  let isRunning = false
  return ({ id }) => {
    if (waiting.length < waitingIdsMax) waiting.push(id)
    if (!isRunning) void run()
  }

  async function run(): Promise<void> {
    isRunning = true
    while (waiting.length > 0) {
      const ids = waiting.slice(0, idsMax)
      waiting = waiting.slice(idsMax)
      await attempt(ids)
    }
    isRunning = false
  }

  async function attempt(ids: string[]): Promise<void> {
    for (let attempts = 1; ; attempts++) {
      try {
        await acknowledge(userId, 'delivered', { ids })
        return
      } catch (error) {
        const mayPass = error instanceof CarillonError && error.code === 'UNAVAILABLE'
        if (!mayPass) return logger.error({ err: error, count: ids.length }, 'acknowledging for a client failed')
        if (attempts === attemptsMax) return logger.warn({ count: ids.length }, 'gave up acknowledging for a client')
        await delay(attemptDelayMs)
      }
    }
  }
}
