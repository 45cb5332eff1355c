// Work that repeats on an interval, one run at a time: a run that takes longer than the interval delays the next, a run
// that fails is logged and tried again at the next, and stopping waits for the run that is under way.
import { CarillonError, messageOf } from './errors.ts'
import type { Logger } from './logger.ts'
import { isTransient } from './postgres.ts'
import { seldom } from './seldom.ts'

export interface Periodic {
  stop(): Promise<void>
}

export function startPeriodic(name: string, intervalMs: number, logger: Logger, run: () => Promise<void>): Periodic {
  let stopped = false
  let running = Promise.resolve()
  let timer: NodeJS.Timeout
  // While the database is away every run fails, and that it is away is known (health.ts).
  const logPassing = seldom((reason, times) =>
    logger.warn({ task: name, reason, times }, 'a periodic task failed because of what may pass'),
  )
  const fail = (error: unknown) => {
    if (mayPass(error)) logPassing(messageOf(error))
    else logger.error({ err: error, task: name }, 'a periodic task failed')
  }
  const schedule = () => {
    timer = setTimeout(() => {
      running = run()
        .catch(fail)
        .then(() => {
          if (!stopped) schedule()
        })
    }, intervalMs)
  }
  schedule()
  return {
    async stop() {
      stopped = true
      clearTimeout(timer)
      await running
    },
  }
}

function mayPass(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.every(mayPass)
  return error instanceof CarillonError ? error.code === 'UNAVAILABLE' : isTransient(error)
}
