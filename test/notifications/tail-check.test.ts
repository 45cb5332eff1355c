import { pino } from 'pino'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createTailCheck, slicesPerInterval, type Watched } from '../../src/notifications/tail-check.ts'

const intervalMs = 2_000
const roundMs = intervalMs / slicesPerInterval

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** Every user's head is 7. Counts how many users each query asks for. */
function fakeLog() {
  const asked: number[] = []
  return {
    asked,
    read: () => Promise.reject(new Error('not used')),
    heads(userIds: string[]) {
      asked.push(userIds.length)
      return Promise.resolve({ epoch: 'e', heads: new Map(userIds.map((id) => [id, { seq: 7, stateVersion: 0 }])) })
    },
  }
}

function watcher(userId: string) {
  const heads: number[] = []
  const watched: Watched = { userId, seq: 7, heard: ({ seq }) => void heads.push(seq), distrust: () => {} }
  return { watched, heads }
}

test('whenever somebody subscribes, they are looked at once within the interval', async () => {
  const log = fakeLog()
  const tailCheck = createTailCheck({ log, intervalMs, logger: pino({ level: 'silent' }) })
  for (let round = 0; round <= slicesPerInterval; round++) {
    const { watched, heads } = watcher(`user ${round}`)
    tailCheck.watch(watched)
    await vi.advanceTimersByTimeAsync(intervalMs)
    expect(heads).toEqual([7])
    tailCheck.unwatch(watched)
    await vi.advanceTimersByTimeAsync(roundMs)
  }
  await tailCheck.stop()
})

test('the users are spread evenly over the interval, whoever leaves and comes', async () => {
  const log = fakeLog()
  const tailCheck = createTailCheck({ log, intervalMs, logger: pino({ level: 'silent' }) })
  const crowd = Array.from({ length: 5 * slicesPerInterval }, (_, index) => watcher(`user ${index}`).watched)
  for (const watched of crowd) tailCheck.watch(watched)
  for (const [index, watched] of crowd.entries()) if ([0, 1, 2, 20, 40, 60].includes(index)) tailCheck.unwatch(watched)
  for (let index = 0; index < 6; index++) tailCheck.watch(watcher(`another ${index}`).watched)
  await vi.advanceTimersByTimeAsync(intervalMs)
  expect(log.asked).toEqual(Array.from({ length: slicesPerInterval }, () => 5))
  await tailCheck.stop()
})

test('the subscriptions of one user are one question, and who has left hears nothing', async () => {
  const log = fakeLog()
  const tailCheck = createTailCheck({ log, intervalMs, logger: pino({ level: 'silent' }) })
  const [one, other, third, gone] = [watcher('u'), watcher('u'), watcher('u'), watcher('v')]
  for (const { watched } of [one, other, third, gone]) tailCheck.watch(watched)
  for (const { watched } of [third, gone]) tailCheck.unwatch(watched)
  // Again, as an end that is told of twice, and one that came to its end before it was watched.
  for (const { watched } of [third, gone, watcher('u')]) tailCheck.unwatch(watched)
  await vi.advanceTimersByTimeAsync(intervalMs)
  expect([one, other, third, gone].map(({ heads }) => heads)).toEqual([[7], [7], [], []])
  expect(log.asked).toEqual([1])
  await tailCheck.stop()
})
