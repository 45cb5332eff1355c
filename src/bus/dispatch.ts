// Who listens in this process, by user. A listener that throws is logged and harms neither the sender nor its neighbours.
import type { Logger } from '../logger.ts'

export interface Dispatch<Message> {
  /** Returns what removes the listener, at once and for good; calling that again does nothing. */
  add(userId: string, onMessage: (message: Message) => void): () => boolean
  has(userId: string): boolean
  deliver(userId: string, message: Message): void
  clear(): void
}

/** Those of a user are chained, since there is one as a rule: a set for each user would take 200 bytes more. */
interface Listener<Message> {
  onMessage: ((message: Message) => void) | undefined
  next: Listener<Message> | undefined
}

export function createDispatch<Message>(logger: Logger): Dispatch<Message> {
  /** The first of each user's. */
  const users = new Map<string, Listener<Message>>()

  function remove(userId: string, listener: Listener<Message>): void {
    const first = users.get(userId)
    if (first === listener) {
      if (listener.next) users.set(userId, listener.next)
      else users.delete(userId)
      return
    }
    for (let before = first; before; before = before.next) if (before.next === listener) before.next = listener.next
  }

  return {
    add(userId, onMessage) {
      // Each call is a listener of its own, even with a function that listens already.
      const listener: Listener<Message> = { onMessage, next: undefined }
      let last = users.get(userId)
      while (last?.next) last = last.next
      if (last) last.next = listener
      else users.set(userId, listener)
      return () => {
        if (!listener.onMessage) return false
        listener.onMessage = undefined
        remove(userId, listener)
        return true
      }
    },
    has: (userId) => users.has(userId),
    deliver(userId, message) {
      // One that is removed meanwhile still knows who comes behind it.
      for (let listener = users.get(userId); listener; listener = listener.next) {
        try {
          listener.onMessage?.(message)
        } catch (error) {
          logger.error({ err: error }, 'a listener of the bus failed')
        }
      }
    },
    clear() {
      for (const first of users.values()) {
        for (let listener: Listener<Message> | undefined = first; listener; listener = listener.next) {
          listener.onMessage = undefined
        }
      }
      users.clear()
    },
  }
}
