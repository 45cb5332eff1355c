// The bus within one process. It loses nothing, keeps the order, and hands the very objects over.
import type { Logger } from '../logger.ts'
import type { Bus } from './bus.ts'
import { createDispatch } from './dispatch.ts'

const attached = Promise.resolve(true)
const refused = Promise.resolve(false)

export function createMemoryBus<Message>({ logger }: { logger: Logger }): Bus<Message> {
  const dispatch = createDispatch<Message>(logger)
  let closed = false
  return {
    async publish(batch) {
      if (closed) return
      // Listeners run after the publisher's own code, as they do when a message comes over a network.
      await undefined
      for (const { userId, message } of batch) dispatch.deliver(userId, message)
    },
    listen(userId, onMessage) {
      if (closed) return { attached: refused, close() {} }
      const remove = dispatch.add(userId, onMessage)
      return { attached, close: () => void remove() }
    },
    // Nothing is ever lost here, so there is nothing to resume from.
    onResume() {},
    status: () => (closed ? { healthy: false, reason: 'closed' } : { healthy: true }),
    async close() {
      closed = true
      await undefined
      dispatch.clear()
    },
  }
}
