// Tries a statement again where another writer was in its way. Each statement commits by itself, so one that failed has
// left nothing behind.
import { setTimeout as sleep } from 'node:timers/promises'
import { CarillonError } from './errors.ts'
import { isTransient, sqlState } from './postgres.ts'

/** In all: many times what writers wait for each other, and less than callers wait for an answer. */
export const retryForMs = 5_000
const delayMinMs = 5
const delayMaxMs = 200

/** 55P03 lock timeout, 40P01 deadlock, 40001 serialization failure. */
const contention = new Set(['55P03', '40P01', '40001'])

/**
 * Runs `run` until it succeeds, fails for another reason than a lock, or `retryForMs` are over. What may pass by itself
 * becomes UNAVAILABLE; where the connection failed the outcome is unknown, and it is not tried again.
 */
export async function withRetry<Result>(run: () => Promise<Result>): Promise<Result> {
  const deadline = performance.now() + retryForMs
  for (let delayMs = delayMinMs; ; delayMs = Math.min(delayMs * 2, delayMaxMs)) {
    try {
      return await run()
    } catch (error) {
      if (error instanceof CarillonError || !isTransient(error)) throw error
      const mayRetry = contention.has(sqlState(error) ?? '') && performance.now() + delayMs < deadline
      if (!mayRetry) throw new CarillonError('UNAVAILABLE', 'try again later', {}, error)
    }
    // Between a half and the whole, so that two that met do not meet again.
    await sleep(delayMs * (1 - Math.random() / 2))
  }
}
