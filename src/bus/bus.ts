// The port between server processes: it carries messages addressed to users to whichever process listens for them.
// Best effort by contract: a message may be lost, doubled, late or out of order, and whoever listens must heal
// (notifications/subscribe.ts). Adapters: bus-memory.ts in one process, bus-redis.ts between many.
// test/bus/bus.contract.ts runs over both.

export interface Addressed<Message> {
  userId: string
  message: Message
  /** What other processes get in its place, where a message is too much to send to all for the few who listen. */
  brief?: Message
}

export interface Bus<Message> {
  /**
   * Sends all that one commit rings, as one batch. Never rejects: what can't be sent is counted
   * (`carillon_bus_publish_errors_total`) and logged, and the tail check delivers in its stead.
   * Messages are shared between listeners and with the caller: nobody may change one after this.
   */
  publish(batch: readonly Addressed<Message>[]): Promise<void>

  /**
   * Calls `onMessage` for each message to the user, until closed. `attached` never rejects: true once messages are
   * certain to arrive, false if that took longer than `attachTimeoutMs` (it is attached later then, and `onResume`
   * fires), or if the bus was closed. `onMessage` must not throw: it is logged, and the others go on.
   */
  listen(userId: string, onMessage: (message: Message) => void): Listening

  /** Called after messages may have been lost for any listener: reconnected, attached late, a probe went missing. */
  onResume(callback: () => void): void

  status(): BusStatus

  /** Ends everything. What was published before has been handed over. */
  close(): Promise<void>
}

export interface Listening {
  readonly attached: Promise<boolean>
  close(): void
}

export interface BusStatus {
  healthy: boolean
  /** Why not, for /readyz. */
  reason?: string
}

/** How long a new subscription waits for the bus before it lives by the tail check. */
export const attachTimeoutMs = 1_000
