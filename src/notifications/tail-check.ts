// The tail check: compares where each connected user's subscriptions stand with the heads of their logs. A lost doorbell
// shows itself only at the next one, so the last may be missing unseen. It asks the database, never the bus, which is
// what may have lost the message. What it finds it tells the subscription (subscription.ts), which reads its log.
import type { Logger } from '../logger.ts'
import { type Periodic, startPeriodic } from '../periodic.ts'
import type { Head, Log } from './log.ts'

/** Users of one query: measured at 6 to 7 µs of PostgreSQL each, so a few milliseconds. */
export const usersPerQueryMax = 1_000
/** Rounds that an interval is cut into, so that the queries are spread evenly over it. */
export const slicesPerInterval = 20

export interface Watched {
  readonly userId: string
  /** The last seq that it has taken over from the log. */
  readonly seq: number
  /** Tells it the head that the database has. */
  heard(head: Head & { epoch: string }): void
  /** The database knows less than it has sent, or the log is another one: it reads, and finds out. */
  distrust(): void
}

export interface TailCheck {
  watch(subscription: Watched): void
  /** Does nothing for one that is not watched. */
  unwatch(subscription: Watched): void
  /** All of them at once: after doorbells may have been lost. */
  checkAll(): Promise<void>
  stop(): Promise<void>
}

export interface TailCheckOptions {
  log: Log
  intervalMs: number
  logger: Logger
}

export function createTailCheck({ log, intervalMs, logger }: TailCheckOptions): TailCheck {
  const watched = new Map<string, { subscriptions: Watched[]; slice: Set<string> }>()
  /** Each user stays in one, so that nobody waits for longer than an interval, whoever comes and goes. */
  const slices = Array.from({ length: slicesPerInterval }, () => new Set<string>())
  let round = 0
  const periodic: Periodic = startPeriodic('tail-check', intervalMs / slicesPerInterval, logger, async () => {
    await check([...(slices[round++ % slicesPerInterval] ?? [])])
  })

  function enter(userId: string) {
    const slice = slices.reduce((least, other) => (other.size < least.size ? other : least))
    const subscriptions: Watched[] = []
    const user = { subscriptions, slice }
    slice.add(userId)
    watched.set(userId, user)
    return user
  }

  return {
    watch(subscription) {
      const { userId } = subscription
      const { subscriptions } = watched.get(userId) ?? enter(userId)
      subscriptions.push(subscription)
    },
    unwatch(subscription) {
      const { userId } = subscription
      const user = watched.get(userId)
      const index = user?.subscriptions.indexOf(subscription) ?? -1
      if (!user || index < 0) return
      user.subscriptions.splice(index, 1)
      if (user.subscriptions.length > 0) return
      watched.delete(userId)
      user.slice.delete(userId)
    },
    checkAll: () => check([...watched.keys()]),
    stop: () => periodic.stop(),
  }

  async function check(userIds: string[]): Promise<void> {
    for (let start = 0; start < userIds.length; start += usersPerQueryMax) {
      const some = userIds.slice(start, start + usersPerQueryMax).filter((userId) => watched.has(userId))
      // As they stand before the query: while it runs they may move on, and its answer must not look like a step back.
      const before = some.flatMap((userId) =>
        (watched.get(userId)?.subscriptions ?? []).map((subscription) => ({
          subscription,
          seq: subscription.seq,
        })),
      )
      if (before.length === 0) continue
      const { epoch, heads } = await log.heads(some)
      for (const { subscription, seq } of before) {
        const head = heads.get(subscription.userId) ?? { seq: 0, stateVersion: 0 }
        if (head.seq < seq) subscription.distrust()
        else subscription.heard({ ...head, epoch })
      }
    }
  }
}
