import fc from 'fast-check'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createDeadlines } from '../../src/connections/deadlines.ts'

// The outside world here is the clock.
beforeEach(() => void vi.useFakeTimers({ now: 0 }))
afterEach(() => void vi.useRealTimers())

test('calls back in order of time, none before its own, and none that was cancelled', () => {
  fc.assert(
    fc.property(fc.array(fc.record({ at: fc.integer({ min: 1, max: 1000 }), cancelled: fc.boolean() })), (entries) => {
      vi.setSystemTime(0)
      const deadlines = createDeadlines()
      const called: { at: number; now: number }[] = []
      const cancels = entries.map(({ at }) => deadlines.schedule(at, () => called.push({ at, now: Date.now() })))
      entries.forEach(({ cancelled }, index) => {
        if (cancelled) cancels[index]?.()
      })
      expect(vi.getTimerCount()).toBe(entries.some(({ cancelled }) => !cancelled) ? 1 : 0)
      vi.advanceTimersByTime(1000)
      const expected = entries.flatMap(({ at, cancelled }) => (cancelled ? [] : [at])).sort((a, b) => a - b)
      expect(called.map(({ at }) => at)).toEqual(expected)
      expect(called.every(({ at, now }) => now === at)).toBe(true)
    }),
  )
})

test('cancels while it calls back, and twice', () => {
  const deadlines = createDeadlines()
  const second = vi.fn()
  const cancelFirst = deadlines.schedule(10, () => cancelSecond())
  const cancelSecond = deadlines.schedule(10, second)
  vi.advanceTimersByTime(20)
  expect(second).not.toHaveBeenCalled()
  cancelFirst()
  cancelSecond()
  expect(vi.getTimerCount()).toBe(0)
})

test('a deadline in the past is called back at once, though not before schedule returns', () => {
  const deadlines = createDeadlines()
  const callback = vi.fn()
  deadlines.schedule(-5, callback)
  expect(callback).not.toHaveBeenCalled()
  vi.advanceTimersByTime(1)
  expect(callback).toHaveBeenCalledOnce()
})

test('waits for longer than a timer can', () => {
  const deadlines = createDeadlines()
  const callback = vi.fn()
  deadlines.schedule(3 * 2 ** 31, callback)
  vi.advanceTimersByTime(3 * 2 ** 31 - 1)
  expect(callback).not.toHaveBeenCalled()
  vi.advanceTimersByTime(1)
  expect(callback).toHaveBeenCalledOnce()
})

test('forgets all when it closes', () => {
  const deadlines = createDeadlines()
  deadlines.schedule(10, () => {})
  deadlines.close()
  expect(vi.getTimerCount()).toBe(0)
})
