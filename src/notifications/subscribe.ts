// Subscribing: cursor in, stream out. The doorbell is attached before the log is read, so that nothing falls between the
// two; from then on the subscription heals itself (subscription.ts), told by the bus and by the tail check.
import type { Bus } from '../bus/bus.ts'
import type { Clock } from '../clock.ts'
import { messageOf } from '../errors.ts'
import type { Logger } from '../logger.ts'
import type { Metrics } from '../metrics.ts'
import { seldom } from '../seldom.ts'
import type { Cursors } from './cursor.ts'
import type { Doorbell } from './doorbell.ts'
import type { Log } from './log.ts'
import { createLogReads } from './log-reads.ts'
import type { Notification, Position } from './notification.ts'
import type { StreamKind } from './stream-state.ts'
import { Subscription, type SubscriptionTools } from './subscription.ts'
import type { TailCheck } from './tail-check.ts'

export interface SubscribeRequest {
  kind: StreamKind
  /** The argument of the operation; a library that reconnects repeats its first value. */
  after: string | null
  /** `connectionParams.after` or `Last-Event-ID`: the newest cursor of a client that has been here before. */
  resumeAfter: string | null
  /** Called with each notification that has reached the client. */
  onConfirmed?: ((notification: Notification) => void) | undefined
}

/** Fails with CURSOR_INVALID or CURSOR_EXPIRED, and with UNAVAILABLE while the database is away. */
export type Subscribe = (userId: string, request: SubscribeRequest) => Promise<Subscription>

export interface SubscribeOptions {
  log: Log
  bus: Bus<Doorbell>
  tailCheck: TailCheck
  cursors: Cursors
  clock: Clock
  metrics: Metrics
  logger: Logger
}

export function createSubscribe({ log, bus, tailCheck, cursors, clock, metrics, logger }: SubscribeOptions): Subscribe {
  const logFailure = seldom((reason, times) =>
    logger.warn({ reason, times }, 'subscriptions could not read their logs and try again'),
  )
  const tools: SubscriptionTools = {
    logReads: createLogReads(log),
    cursors,
    clock,
    metrics,
    onReadFailed: (error) => logFailure(messageOf(error)),
  }

  function decode(userId: string, cursor: string | null): (Position & { epoch: string }) | null {
    return cursor === null ? null : cursors.decode(userId, cursor)
  }

  return async (userId, { kind, after: first, resumeAfter, onConfirmed }) => {
    const after = later(decode(userId, first), decode(userId, resumeAfter))
    const subscription = new Subscription({ userId, kind, after, onConfirmed }, tools)
    metrics.subscriptionsActive.inc()
    const listening = bus.listen(userId, subscription.ring)
    subscription.onEnd(() => {
      metrics.subscriptionsActive.dec()
      listening.close()
      tailCheck.unwatch(subscription)
    })
    try {
      // False after a second without the bus: it lives by the tail check until the bus is back.
      await listening.attached
      tailCheck.watch(subscription)
      await subscription.start()
    } catch (error) {
      await subscription.return()
      throw error
    }
    return subscription
  }
}

/**
 * Of two epochs the newer can't be told; the one that the client holds now is the better guess than its first. Within one
 * the time decides, which orders a log as its numbers do, and goes on where a backup was restored.
 */
function later<Cursor extends Position & { epoch: string }>(after: Cursor | null, resumeAfter: Cursor | null) {
  if (!after || !resumeAfter) return after ?? resumeAfter
  if (after.epoch !== resumeAfter.epoch) return resumeAfter
  if (after.createdAt !== resumeAfter.createdAt) return after.createdAt > resumeAfter.createdAt ? after : resumeAfter
  if (after.seq !== resumeAfter.seq) return after.seq > resumeAfter.seq ? after : resumeAfter
  return (after.stateVersion ?? 0) > (resumeAfter.stateVersion ?? 0) ? after : resumeAfter
}
