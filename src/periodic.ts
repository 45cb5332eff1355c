// Work that repeats on an interval, one run at a time: a run that takes longer than the interval delays the next, a run
// that fails is logged and tried again at the next, and stopping waits for the run that is under way.
import type { Logger } from './logger.ts'

export interface Periodic {
  stop(): Promise<void>
}

export function startPeriodic(name: string, intervalMs: number, logger: Logger, run: () => Promise<void>): Periodic {
  let stopped = false
  let running = Promise.resolve()
  let timer: NodeJS.Timeout
  const schedule = () => {
    timer = setTimeout(() => {
      running = run()
        .catch((error: unknown) => logger.error({ err: error, task: name }, 'a periodic task failed'))
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
