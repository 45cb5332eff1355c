// Subscribing while the database takes what it is asked and says nothing: nobody waits for more than one who did.
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createMemoryBus } from '../../src/bus/bus-memory.ts'
import { createMetrics } from '../../src/metrics.ts'
import { createCursors } from '../../src/notifications/cursor.ts'
import type { Doorbell } from '../../src/notifications/doorbell.ts'
import { logsPerReadMax } from '../../src/notifications/log.ts'
import { readsInFlightMax, silentReadMs } from '../../src/notifications/log-reads.ts'
import { createSubscribe } from '../../src/notifications/subscribe.ts'

const logger = pino({ level: 'silent' })

test('all that wait for their turn are sent away as soon as one read found it silent', async () => {
  let reads = 0
  const subscribe = createSubscribe({
    log: {
      async read() {
        reads += 1
        // A timer may be early by less than a millisecond.
        await sleep(silentReadMs + 1)
        throw new Error('Query read timeout')
      },
      heads: () => Promise.reject(new Error('not asked')),
    },
    bus: createMemoryBus<Doorbell>({ logger }),
    tailCheck: { watch: () => {}, unwatch: () => {}, checkAll: async () => {}, stop: async () => {} },
    cursors: createCursors(Buffer.alloc(32)),
    clock: { now: () => Date.now() },
    metrics: createMetrics(),
    logger,
  })
  const startedAt = performance.now()
  const outcomes = await Promise.allSettled(
    Array.from({ length: 10 * readsInFlightMax * logsPerReadMax }, (_, index) =>
      subscribe(`user-${index}`, { kind: 'notifications', after: null, resumeAfter: null }),
    ),
  )
  for (const outcome of outcomes) {
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'UNAVAILABLE' } })
  }
  expect(reads).toBe(readsInFlightMax)
  expect(performance.now() - startedAt).toBeLessThan(2 * silentReadMs)
})
