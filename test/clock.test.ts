import { expect, test } from 'vitest'
import { createClock } from '../src/clock.ts'

/** A process whose clock stands still, and a database whose clock is asked in its own time. */
function worlds({ process, database }: { process: number; database: number }) {
  const time = { process, database, onTheWayThere: 0, onTheWayBack: 0 }
  const pass = (ms: number) => {
    time.process += ms
    time.database += ms
  }
  const clock = createClock(
    async () => {
      pass(time.onTheWayThere)
      const told = time.database
      pass(time.onTheWayBack)
      return told
    },
    () => time.process,
  )
  return { time, clock }
}

const hourMs = 3_600_000

test.each([hourMs, -hourMs])('tells the time of the database, which is %i ms off', async (off) => {
  const { clock, time } = worlds({ process: 1e12, database: 1e12 + off })
  await clock.adjust()
  expect(clock.now()).toBe(1e12 + off)
  time.process += 500
  expect(clock.now()).toBe(1e12 + off + 500)
})

test('stays with the time of the process where the two agree, however long the way', async () => {
  const { clock, time } = worlds({ process: 1e12, database: 1e12 })
  for (const [onTheWayThere, onTheWayBack] of [
    [0, 0],
    [3, 0],
    [0, 1_500],
    [2_000, 1],
  ] as const) {
    Object.assign(time, { onTheWayThere, onTheWayBack })
    await clock.adjust()
    expect(clock.now()).toBe(time.process)
  }
})

test('is off by no more than the quickest answer took, and a slow one makes it no worse', async () => {
  const { clock, time } = worlds({ process: 1e12, database: 1e12 + hourMs })
  time.onTheWayBack = 4
  await clock.adjust()
  expect(Math.abs(clock.now() - time.database)).toBeLessThanOrEqual(4)
  time.onTheWayBack = 0
  await clock.adjust()
  expect(clock.now()).toBe(time.database)
  Object.assign(time, { onTheWayThere: 900, onTheWayBack: 900 })
  await clock.adjust()
  expect(clock.now()).toBe(time.database)
})

test('follows a clock that is set, and keeps what it knows while the database does not answer', async () => {
  const { clock, time } = worlds({ process: 1e12, database: 1e12 })
  time.database -= hourMs
  await clock.adjust()
  expect(clock.now()).toBe(time.database)
  let fails = true
  const other = createClock(
    async () => {
      if (fails) throw new Error('gone')
      return 5e11
    },
    () => 1e12,
  )
  await expect(other.adjust()).rejects.toThrow('gone')
  expect(other.now()).toBe(1e12)
  fails = false
  await other.adjust()
  fails = true
  await expect(other.adjust()).rejects.toThrow('gone')
  expect(other.now()).toBe(5e11)
})
