// Runs broadcasts in this process: a few batches at a time, the most urgent first, whichever process accepted them. What is
// next is decided anew for each batch, so that an urgent broadcast waits for one batch of the others at most.
import { messageOf } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { startPeriodic } from '../periodic.ts'
import { type Database, isTransient } from '../postgres.ts'
import { seldom } from '../seldom.ts'
import { claimRange } from './claim.ts'
import { completeBroadcasts } from './end.ts'
import type { Work } from './worker.ts'

/** How often a process looks for what others accepted, or left behind. */
export const pollMs = 1_000

export interface BroadcastEngine {
  /** There is work: looks at once. */
  wake(): void
  /** Finishes the statements under way and gives back what it works on. */
  stop(): Promise<void>
}

export interface EngineOptions {
  database: Database
  work: Work
  logger: Logger
  concurrency: number
}

export function startBroadcastEngine({ database, work, logger, concurrency }: EngineOptions): BroadcastEngine {
  let isStopping = false
  /** Each works off one batch after the other until there is none. */
  const lanes = new Set<Promise<void>>()
  const logPassing = seldom((reason, times) => logger.warn({ reason, times }, 'a broadcast could not be claimed'))

  const polling = startPeriodic('broadcasts', pollMs, logger, async () => {
    // Somebody may have died between a broadcast's last statement and saying that it is complete.
    await completeBroadcasts(database, null)
    wake()
  })

  function wake(): void {
    if (isStopping || lanes.size >= concurrency) return
    const lane = runLane()
      .catch((error: unknown) => {
        if (isTransient(error)) logPassing(messageOf(error))
        else logger.error({ err: error }, 'a broadcast could not be claimed')
      })
      .finally(() => lanes.delete(lane))
    lanes.add(lane)
  }

  async function runLane(): Promise<void> {
    while (!isStopping) {
      const claim = await claimRange(database)
      if (!claim) return
      // There may be work for another lane too.
      wake()
      await work(claim, () => isStopping)
    }
  }

  return {
    wake,
    async stop() {
      isStopping = true
      await polling.stop()
      await Promise.all(lanes)
    },
  }
}
