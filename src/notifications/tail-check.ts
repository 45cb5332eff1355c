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
  /** Tells it the head that the database has, and of which epoch. */
  heard(head: Head, epoch: string): void
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

interface User {
  readonly userId: string
  readonly subscriptions: Watched[]
  readonly slice: Set<User>
}

const noHead: Head = { seq: 0, stateVersion: 0 }

export function createTailCheck({ log, intervalMs, logger }: TailCheckOptions): TailCheck {
  const users = new Map<string, User>()
  /** Each user stays in one, so that nobody waits for longer than an interval, whoever comes and goes. */
  const slices = Array.from({ length: slicesPerInterval }, () => new Set<User>())
  let round = 0
  const periodic: Periodic = startPeriodic('tail-check', intervalMs / slicesPerInterval, logger, async () => {
    await check([...(slices[round++ % slicesPerInterval] ?? [])])
  })

  function enter(userId: string): User {
    const slice = slices.reduce((least, other) => (other.size < least.size ? other : least))
    const user: User = { userId, subscriptions: [], slice }
    slice.add(user)
    users.set(userId, user)
    return user
  }

  return {
    watch(subscription) {
      const { subscriptions } = users.get(subscription.userId) ?? enter(subscription.userId)
      subscriptions.push(subscription)
    },
    unwatch(subscription) {
      const user = users.get(subscription.userId)
      const index = user?.subscriptions.indexOf(subscription) ?? -1
      if (!user || index < 0) return
      user.subscriptions.splice(index, 1)
      if (user.subscriptions.length > 0) return
      users.delete(user.userId)
      user.slice.delete(user)
    },
    checkAll: () => check([...users.values()]),
    stop: () => periodic.stop(),
  }

  async function check(all: readonly User[]): Promise<void> {
    for (let start = 0; start < all.length; start += usersPerQueryMax) {
      const userIds: string[] = []
      // As they stand before the query: while it runs they may move on, and its answer must not look like a step back.
      const asked: Watched[] = []
      const seqs: number[] = []
      for (const { userId, subscriptions } of all.slice(start, start + usersPerQueryMax)) {
        if (subscriptions.length > 0) userIds.push(userId)
        for (const subscription of subscriptions) {
          asked.push(subscription)
          seqs.push(subscription.seq)
        }
      }
      if (asked.length === 0) continue
      const { epoch, heads } = await log.heads(userIds)
      for (const [index, subscription] of asked.entries()) {
        const head = heads.get(subscription.userId) ?? noHead
        if (head.seq < (seqs[index] ?? 0)) subscription.distrust()
        else subscription.heard(head, epoch)
      }
    }
  }
}
