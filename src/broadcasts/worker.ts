// One batch of a broadcast: chooses the next users and renders for them, holding nothing but a lease, then appends in short
// statements and rings. What happens to a batch that can't be finished is decided here too; engine.ts says when it runs.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Bus } from '../bus/bus.ts'
import { CarillonError, messageOf } from '../errors.ts'
import type { Logger } from '../logger.ts'
import type { Metrics } from '../metrics.ts'
import type { Doorbell } from '../notifications/doorbell.ts'
import { priorities } from '../notifications/notification.ts'
import { type Database, isTransient } from '../postgres.ts'
import { withRetry } from '../retry.ts'
import { seldom } from '../seldom.ts'
import type { Rendered, Renderer } from '../templates/renderer.ts'
import type { AppendBatch, AppendedStretch, Stretch } from './append-batch.ts'
import { chooseUsers } from './choose-users.ts'
import { type Claim, leaseRenewalMs, releaseRange, renewLease } from './claim.ts'
import { completeBroadcasts, stopBroadcast } from './end.ts'

/** Users of one statement: it holds their inboxes for a few milliseconds, and this process is busy with it as long. */
export const stretchUsersMax = 128
/** Characters of its content, so that large texts don't make a slow statement. */
export const stretchCharactersMax = 1024 * 1024
/** So long a batch goes on to its next group: somebody may have something more urgent. */
const batchMsMax = 1_000
/** Batches that fail one after the other, for no reason that passes by itself, before the broadcast does. */
export const attemptsMax = 5
/** Until somebody tries a batch again that failed. */
export const retryMs = 1_000

export interface WorkerOptions {
  database: Database
  bus: Bus<Doorbell>
  renderer: Renderer
  appendBatch: AppendBatch
  metrics: Metrics
  logger: Logger
  batchUsers: number
}

/** Never rejects: what goes wrong is logged, and the range given back. Between two statements it looks at `isStopping`. */
export type Work = (claim: Claim, isStopping: () => boolean) => Promise<void>

export function createWork(options: WorkerOptions): Work {
  const { database, bus, renderer, appendBatch, metrics, logger, batchUsers } = options
  const logPassing = seldom((reason, times) =>
    logger.warn({ reason, times }, 'a batch of a broadcast failed because of what may pass'),
  )

  async function work(claim: Claim, isStopping: () => boolean): Promise<void> {
    if (claim.isExpired) return fail(claim, 'it expired before it had reached everybody')
    const { groups, isEnd, upTo: end } = await chooseUsers(database, claim, batchUsers, stretchUsersMax)
    const begunAt = performance.now()
    let { cursor } = claim
    for (const [index, users] of groups.entries()) {
      const isLate = index > 0 && performance.now() - begunAt > batchMsMax
      if (isStopping() || isLate) return giveBack(claim)
      const { chunks, firstFailure } = await render(claim, users)
      for (const [nth, { items, failed, upTo }] of chunks.entries()) {
        const isLast = isEnd && index === groups.length - 1 && nth === chunks.length - 1
        const stretch = { items, failed, upTo, cursor, failure: failed > 0 ? firstFailure : null, isLast }
        const startedAt = performance.now()
        const appended = await withRetry(() => appendBatch(claim, stretch))
        // Somebody else's, stopped or expired: whoever claims it next finds out.
        if (!appended) return giveBack(claim)
        report(claim, stretch, appended)
        cursor = upTo
        // Half of the time is for others: what was due meanwhile is done then, here and in the database.
        await sleep(performance.now() - startedAt)
      }
    }
    if (groups.length === 0) {
      const nobody = { items: '[]', failed: 0, failure: null, cursor, upTo: end, isLast: isEnd }
      await withRetry(() => appendBatch(claim, nobody))
    }
    if (isEnd) await completeBroadcasts(database, claim.broadcastId)
    else await giveBack(claim)
  }

  async function giveBack(claim: Claim): Promise<void> {
    await releaseRange(database, claim, 0, false)
  }

  function render({ broadcastId, source, variables }: Claim, users: string): Promise<Rendered> {
    const limits = { chunkItemsMax: stretchUsersMax, chunkCharactersMax: stretchCharactersMax }
    return renderer.render({ cacheKey: broadcastId, source, variables, users, ...limits })
  }

  function report({ priority }: Claim, { failed }: Stretch, { received, skipped }: AppendedStretch): void {
    metrics.notificationsAccepted.inc({ priority: priorities[priority] ?? 'NORMAL' }, received.length)
    metrics.broadcastRecipients.inc({ outcome: 'sent' }, received.length)
    metrics.broadcastRecipients.inc({ outcome: 'failed' }, failed)
    metrics.broadcastRecipients.inc({ outcome: 'skipped' }, skipped)
    // One batch of doorbells a statement. Nobody waits for the bus, which never fails and bounds what waits in it.
    void bus.publish(
      received.map(({ notification, inbox }) => ({
        userId: notification.userId,
        message: { inbox, news: { kind: 'received', notifications: [notification] } },
        // Of a million users few are connected, and to the others' instances each row would cost more than its send.
        brief: { inbox, news: { kind: 'appended' } },
      })),
    )
  }

  async function fail({ broadcastId }: Claim, reason: string): Promise<void> {
    logger.error({ broadcastId, reason }, 'a broadcast failed')
    await stopBroadcast(database, broadcastId, 'FAILED', reason)
  }

  async function recover(claim: Claim, error: unknown): Promise<void> {
    // Of the template: rendered anew it would take as long.
    if (error instanceof CarillonError && error.code === 'BAD_USER_INPUT') return fail(claim, error.message)
    const { broadcastId, attempts } = claim
    const passes = mayPass(error)
    if (passes) logPassing(messageOf(causeOf(error)))
    else logger.error({ err: error, broadcastId, attempts }, 'a batch of a broadcast failed')
    const failed = await releaseRange(database, claim, retryMs, !passes)
    if (failed >= attemptsMax) await fail(claim, `${attemptsMax} batches failed one after the other; see the log`)
  }

  return async (claim, isStopping) => {
    // Where it can't be renewed it runs out, and the next statement to append finds that out.
    const renewal = setInterval(() => void renewLease(database, claim).catch(() => {}), leaseRenewalMs)
    try {
      await work(claim, isStopping)
    } catch (error) {
      // Where that fails too the lease runs out.
      await recover(claim, error).catch((failure: unknown) => logPassing(messageOf(failure)))
    } finally {
      clearInterval(renewal)
    }
  }
}

function mayPass(error: unknown): boolean {
  return error instanceof CarillonError ? error.code === 'UNAVAILABLE' : isTransient(error)
}

/** What the database said, behind UNAVAILABLE. */
function causeOf(error: unknown): unknown {
  return error instanceof CarillonError && error.cause !== undefined ? error.cause : error
}
