import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createHeartbeat } from '../../src/connections/heartbeat.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test('visits each member once an interval, a few at a time', () => {
  const heartbeat = createHeartbeat(1_000)
  const beats = Array.from({ length: 200 }, () => vi.fn())
  for (const beat of beats) heartbeat.add({ beat })
  let largest = 0
  for (let ms = 0; ms < 1_000; ms += 20) {
    const before = beats.reduce((sum, beat) => sum + beat.mock.calls.length, 0)
    vi.advanceTimersByTime(20)
    largest = Math.max(largest, beats.reduce((sum, beat) => sum + beat.mock.calls.length, 0) - before)
  }
  expect(beats.every((beat) => beat.mock.calls.length === 1)).toBe(true)
  expect(largest).toBe(4)
  expect(vi.getTimerCount()).toBe(1)
  heartbeat.close()
  expect(vi.getTimerCount()).toBe(0)
})

test('visits no more what was taken out, even by a visit', () => {
  const heartbeat = createHeartbeat(100)
  const member = { beat: vi.fn(() => heartbeat.remove(member)) }
  heartbeat.add(member)
  vi.advanceTimersByTime(1_000)
  expect(member.beat).toHaveBeenCalledOnce()
  heartbeat.close()
})
