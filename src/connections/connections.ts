// All connections that may carry subscriptions, WebSocket and SSE alike: how many there may be, of one process and of one
// user, and how they end when the server does. The limits hold at every moment: a place is taken before it is used.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Transport, TransportMetrics } from './transport-metrics.ts'

export interface Connection {
  readonly transport: Transport
  /** Ends it so that its client comes back elsewhere, after what it is carrying out. */
  drain(): void
  /** Ends it at once. */
  terminate(): void
}

/** A connection's place among all. */
export interface Place {
  /** Counts it as one of this user's, once. False where they have as many as they may. */
  claim(userId: string): boolean
  /** Gives it back; later calls do nothing. */
  leave(): void
}

export interface Connections {
  /** False where `enter` would fail; why has been counted. */
  hasRoom(): boolean
  /** Null where the server is full or draining; why has been counted. */
  enter(connection: Connection): Place | null
  readonly isDraining: boolean
  /** Lets nobody in any more, and ends all that there are, spread evenly over `drainMs`. Resolves when none is left. */
  drain(drainMs: number): Promise<void>
}

/** How long a connection may take to end once it has been told to: to carry out its mutations and to shake hands. */
const endMsMax = 5_000
const drainTickMs = 20

interface Limits {
  maxConnections: number
  maxConnectionsPerUser: number
}

export function createConnections(limits: Limits, metrics: TransportMetrics): Connections {
  const open = new Set<Connection>()
  const perUser = new Map<string, number>()
  let isDraining = false
  let whenEmpty: (() => void) | undefined

  class PlaceOfOne implements Place {
    readonly #connection: Connection
    #userId: string | undefined

    constructor(connection: Connection) {
      this.#connection = connection
    }

    claim(userId: string): boolean {
      const count = perUser.get(userId) ?? 0
      if (count >= limits.maxConnectionsPerUser || !open.has(this.#connection)) return false
      perUser.set(userId, count + 1)
      this.#userId = userId
      return true
    }

    leave(): void {
      if (!open.delete(this.#connection)) return
      metrics.closed(this.#connection.transport)
      if (open.size === 0) whenEmpty?.()
      if (this.#userId === undefined) return
      const count = (perUser.get(this.#userId) ?? 0) - 1
      if (count > 0) perUser.set(this.#userId, count)
      else perUser.delete(this.#userId)
    }
  }

  function hasRoom(): boolean {
    if (!isDraining && open.size < limits.maxConnections) return true
    metrics.rejected(isDraining ? 'draining' : 'server_limit')
    return false
  }

  return {
    get isDraining() {
      return isDraining
    },
    hasRoom,
    enter(connection) {
      if (!hasRoom()) return null
      open.add(connection)
      metrics.opened(connection.transport)
      return new PlaceOfOne(connection)
    },
    async drain(drainMs) {
      isDraining = true
      const empty = new Promise<void>((resolve) => {
        whenEmpty = resolve
        if (open.size === 0) resolve()
      })
      await drainEvenly([...open], drainMs)
      const inTime = new AbortController()
      await Promise.race([empty, sleep(endMsMax, undefined, { signal: inTime.signal }).catch(() => {})])
      inTime.abort()
      for (const connection of open) connection.terminate()
      await empty
    },
  }
}

async function drainEvenly(connections: readonly Connection[], drainMs: number): Promise<void> {
  const start = performance.now()
  let drained = 0
  for (;;) {
    const elapsed = performance.now() - start
    const due = elapsed >= drainMs ? connections.length : Math.ceil((connections.length * (elapsed + 1)) / drainMs)
    for (const connection of connections.slice(drained, due)) connection.drain()
    drained = Math.max(drained, due)
    if (drained >= connections.length) return
    await sleep(drainTickMs)
  }
}
