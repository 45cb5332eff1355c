// The contract over both adapters.
import { expect, inject, vi } from 'vitest'
import { createMemoryBus } from '../../src/bus/bus-memory.ts'
import { describeBus, type Note } from './bus.contract.ts'
import { captureLog, connectRedisBus } from './redis-bus.ts'

describeBus('memory', async () => {
  const { logger, logged } = captureLog()
  const bus = createMemoryBus<Note>({ logger })
  return { near: bus, far: bus, logged, [Symbol.asyncDispose]: () => bus.close() }
})

describeBus('Redis', async ({ channels } = { channels: 8 }) => {
  const near = connectRedisBus({ url: inject('redisUrl'), channels })
  const far = connectRedisBus({ url: inject('redisUrl'), channels, prefix: near.prefix, log: near })
  // Nothing is published before there is a connection.
  await vi.waitFor(() => expect(near.bus.status()).toEqual({ healthy: true }))
  return {
    near: near.bus,
    far: far.bus,
    logged: near.logged,
    async [Symbol.asyncDispose]() {
      await near.bus.close()
      await far.bus.close()
    },
  }
})
