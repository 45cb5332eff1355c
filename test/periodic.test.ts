import { pino } from 'pino'
import { expect, test, vi } from 'vitest'
import { CarillonError } from '../src/errors.ts'
import { startPeriodic } from '../src/periodic.ts'

const away = () => new CarillonError('UNAVAILABLE', 'try again later', {}, new Error('away'))

test('a run that fails is tried again at the next interval', async () => {
  const { logger, lines } = captureLog()
  let runs = 0
  const periodic = startPeriodic('task', 1, logger, async () => {
    if (++runs === 1) throw new Error('once')
  })
  await vi.waitFor(() => expect(runs).toBeGreaterThan(2))
  await periodic.stop()
  expect(lines()).toMatchObject([{ level: 50, task: 'task', err: { message: 'once' } }])
})

test.each([
  ['of one thing', away],
  ['of several', () => new AggregateError([away(), away()], 'all of them')],
])('what may pass is logged once a minute, not at every run, as a warning: %s', async (_, fail) => {
  const { logger, lines } = captureLog()
  let runs = 0
  const periodic = startPeriodic('task', 1, logger, async () => {
    runs++
    throw fail()
  })
  await vi.waitFor(() => expect(runs).toBeGreaterThan(5))
  await periodic.stop()
  expect(lines()).toMatchObject([{ level: 40, task: 'task', times: 1 }])
})

test('stopping waits for the run that is under way', async () => {
  const { logger } = captureLog()
  let isDone = false
  let begin = () => {}
  const begun = new Promise<void>((resolve) => {
    begin = resolve
  })
  const periodic = startPeriodic('task', 1, logger, async () => {
    begin()
    await new Promise((resolve) => setTimeout(resolve, 20))
    isDone = true
  })
  await begun
  await periodic.stop()
  expect(isDone).toBe(true)
})

function captureLog() {
  const written: string[] = []
  const logger = pino({}, { write: (line: string) => void written.push(line) })
  return { logger, lines: () => written.map((line) => JSON.parse(line)) }
}
