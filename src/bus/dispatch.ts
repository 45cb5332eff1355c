// Who listens in this process, by user. A listener that throws is logged and harms neither the sender nor its neighbours.
import type { Logger } from '../logger.ts'

export interface Dispatch<Message> {
  /** Returns what removes the listener, at once and for good; calling that again does nothing. */
  add(userId: string, onMessage: (message: Message) => void): () => boolean
  has(userId: string): boolean
  deliver(userId: string, message: Message): void
  clear(): void
}

export function createDispatch<Message>(logger: Logger): Dispatch<Message> {
  // Each call of `add` is a listener of its own, even with a function that listens already.
  const users = new Map<string, Set<{ onMessage: (message: Message) => void }>>()
  return {
    add(userId, onMessage) {
      const listener = { onMessage }
      const listeners = users.get(userId) ?? new Set()
      listeners.add(listener)
      users.set(userId, listeners)
      return () => {
        const removed = listeners.delete(listener)
        if (listeners.size === 0 && users.get(userId) === listeners) users.delete(userId)
        return removed
      }
    },
    has: (userId) => users.has(userId),
    deliver(userId, message) {
      const listeners = users.get(userId)
      if (!listeners) return
      for (const { onMessage } of listeners) {
        try {
          onMessage(message)
        } catch (error) {
          logger.error({ err: error }, 'a listener of the bus failed')
        }
      }
    },
    clear() {
      for (const listeners of users.values()) listeners.clear()
      users.clear()
    },
  }
}
