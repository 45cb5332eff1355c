// One timer that looks after all connections: each is visited once an interval, a few at a time, so that neither 50,000
// timers run nor 50,000 pings go out in one turn of the event loop.

export interface Beating {
  /** `now` is `performance.now()`. Must not throw. */
  beat(now: number): void
  /** The heartbeat's own: when it is its turn. */
  heartbeatSlot?: number
}

export interface Heartbeat {
  add(member: Beating): void
  remove(member: Beating): void
  close(): void
}

/** Ticks an interval: what one tick has to do takes milliseconds even with 50,000 connections. */
const ticksPerInterval = 50

export function createHeartbeat(intervalMs: number): Heartbeat {
  const slots = Array.from({ length: ticksPerInterval }, () => new Set<Beating>())
  let tick = 0
  let nextSlot = 0
  const timer = setInterval(() => {
    const now = performance.now()
    for (const member of slots[tick++ % ticksPerInterval] ?? []) member.beat(now)
  }, intervalMs / ticksPerInterval)
  return {
    add(member) {
      const slot = nextSlot++ % ticksPerInterval
      member.heartbeatSlot = slot
      slots[slot]?.add(member)
    },
    remove: (member) => void slots[member.heartbeatSlot ?? 0]?.delete(member),
    close: () => clearInterval(timer),
  }
}
