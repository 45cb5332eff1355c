// Which channels a subscriber connection is subscribed to: it brings what Redis has to what is wanted, again after every
// reconnect, and again with a growing delay where Redis refused. It compares states instead of following events, so a
// channel that is left and joined while a command is under way ends as it was asked for last.
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from '../logger.ts'
import { type RedisConnection, reasonOf } from '../redis.ts'
import { seldom } from '../seldom.ts'
import { attachTimeoutMs } from './bus.ts'

/** Between attempts of a SUBSCRIBE that Redis refused, by its access rules for example. */
const retryDelayMinMs = 50
const retryDelayMaxMs = 1_000

export interface Channels {
  join(channel: string): void
  leave(channel: string): void
  /** Never rejects: true once Redis said that it sends us the channel, false after `attachTimeoutMs` or on close. */
  attached(channel: string): Promise<boolean>
  /** Why a channel that is wanted is not subscribed. */
  problem(): string | undefined
  close(): void
}

const attachedAlready = Promise.resolve(true)
const closedAlready = Promise.resolve(false)

/** `onResume` is called after channels are subscribed whose listeners have missed, or given up on, messages. */
export function createChannels(
  { client }: RedisConnection,
  { logger, onResume }: { logger: Logger; onResume: () => void },
): Channels {
  const wanted = new Set<string>()
  const subscribed = new Set<string>()
  /** Perhaps subscribed, and not wanted any more. */
  const leaving = new Set<string>()
  /** Not subscribed while somebody listens without being attached. */
  const lapsed = new Set<string>()
  const waiting = new Map<string, Set<(attached: boolean) => void>>()
  let connections = 0
  let refusal: string | undefined
  let running = false
  let closed = false
  const logRefusal = seldom((reason, times) => logger.warn({ reason, times }, 'Redis refused to subscribe'))

  client.on('ready', () => void settle())
  client.on('close', () => {
    connections += 1
    for (const channel of subscribed) lapsed.add(channel)
    subscribed.clear()
    leaving.clear()
  })

  async function settle(): Promise<void> {
    if (running) return
    running = true
    let refusals = 0
    while (!closed && client.status === 'ready') {
      const joins = [...wanted].filter((channel) => !subscribed.has(channel))
      const leaves = [...leaving]
      if (joins.length === 0 && leaves.length === 0) break
      try {
        if (joins.length > 0) await subscribe(joins)
        else await unsubscribe(leaves)
        refusals = 0
        refusal = undefined
      } catch (error) {
        // With the connection gone its own log line has said so, and its next one starts here again.
        if (closed || client.status !== 'ready') break
        refusal = reasonOf(error)
        logRefusal(refusal)
        await delay(Math.min(retryDelayMinMs * 2 ** refusals, retryDelayMaxMs), undefined, { ref: false })
        refusals += 1
      }
    }
    running = false
  }

  async function subscribe(joins: string[]): Promise<void> {
    const connection = connections
    await client.subscribe(...joins)
    if (connection !== connections) return
    let resumed = false
    for (const channel of joins) {
      if (!wanted.has(channel)) continue
      subscribed.add(channel)
      if (lapsed.delete(channel)) resumed = true
      for (const resolve of waiting.get(channel) ?? []) resolve(true)
    }
    if (resumed && !closed) onResume()
  }

  async function unsubscribe(leaves: string[]): Promise<void> {
    await client.unsubscribe(...leaves)
    for (const channel of leaves) leaving.delete(channel)
  }

  return {
    join(channel) {
      wanted.add(channel)
      leaving.delete(channel)
      void settle()
    },
    leave(channel) {
      wanted.delete(channel)
      lapsed.delete(channel)
      // From here on it takes a new SUBSCRIBE to be attached. One may be under way: that is taken back too.
      subscribed.delete(channel)
      leaving.add(channel)
      void settle()
    },
    attached(channel) {
      if (closed) return closedAlready
      if (subscribed.has(channel)) return attachedAlready
      return new Promise((resolve) => {
        const waiters = waiting.get(channel) ?? new Set()
        waiting.set(channel, waiters)
        const finish = (attached: boolean) => {
          clearTimeout(timer)
          waiters.delete(finish)
          if (waiters.size === 0 && waiting.get(channel) === waiters) waiting.delete(channel)
          resolve(attached)
        }
        const timer = setTimeout(() => {
          if (wanted.has(channel)) lapsed.add(channel)
          finish(false)
        }, attachTimeoutMs)
        waiters.add(finish)
      })
    },
    problem() {
      if (refusal !== undefined) return `Redis refused to subscribe: ${refusal}`
      return lapsed.size > 0 ? 'channels are being subscribed again' : undefined
    },
    close() {
      closed = true
      for (const waiters of waiting.values()) for (const resolve of waiters) resolve(false)
    },
  }
}
