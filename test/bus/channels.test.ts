import { EventEmitter } from 'node:events'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createChannels } from '../../src/bus/channels.ts'

test('a channel that is left and joined again while its SUBSCRIBE is under way stays subscribed', async () => {
  const redis = new Set<string>()
  const answers: (() => void)[] = []
  const answered = (carryOut: () => void) =>
    new Promise<void>((resolve) => {
      answers.push(() => {
        carryOut()
        resolve()
      })
    })
  const client = Object.assign(new EventEmitter(), {
    status: 'ready',
    subscribe: (name: string) => answered(() => redis.add(name)),
    unsubscribe: (name: string) => answered(() => redis.delete(name)),
  })
  const channels = createChannels({ client } as never, { logger: pino({ level: 'silent' }), onResume() {} })
  channels.join('a')
  channels.leave('a')
  channels.join('a')
  const attached = channels.attached('a')
  for (let i = 0; i < 5; i++) {
    answers.shift()?.()
    await new Promise((r) => setImmediate(r))
  }
  expect(await attached).toBe(true)
  expect([...redis]).toEqual(['a'])
})
