// Who looks after Redis, over a connection of their own and past the proxies: gives it commands, sees who is connected, and
// listens to the doorbells as they ring.
import { Redis } from 'ioredis'
import { readEnvelope } from '../../../src/bus/envelope.ts'
import { parseDoorbell } from '../../../src/notifications/doorbell.ts'
import type { FaultFleet } from './fleet.ts'

export interface RedisOperator extends AsyncDisposable {
  call(name: string, ...parameters: string[]): Promise<unknown>
  /** Ids of the connections of this name that Redis has, by its own account. */
  connections(name: 'carillon-subscriber' | 'carillon-publisher'): Promise<Set<string>>
}

/** It does not come back where Redis goes away. */
export async function operateRedis(fleet: FaultFleet): Promise<RedisOperator> {
  const client = await connect(fleet)
  return {
    call: (name, ...parameters) => client.call(name, ...parameters),
    async connections(name) {
      const list = String(await client.call('CLIENT', 'LIST'))
      const lines = list.split('\n').filter((line) => line.includes(` name=${name} `))
      return new Set(lines.map((line) => /^id=(\d+)/.exec(line)?.[1] ?? ''))
    },
    async [Symbol.asyncDispose]() {
      client.disconnect()
    },
  }
}

export interface DoorbellCount extends AsyncDisposable {
  readonly heard: number
  /** Of those, how many rang after one of the same user with a higher seq. */
  readonly late: number
}

/** Counts doorbells of received notifications from now on, in the order in which Redis hands them to everybody. */
export async function countDoorbells(fleet: FaultFleet): Promise<DoorbellCount> {
  const client = await connect(fleet)
  const heads = new Map<string, number>()
  let heard = 0
  let late = 0
  const take = (userId: string, json: string) => {
    const doorbell = parseDoorbell(JSON.parse(json))
    if (doorbell?.news.kind !== 'received') return
    const head = heads.get(userId) ?? 0
    heard += 1
    if (doorbell.inbox.seq < head) late += 1
    heads.set(userId, Math.max(head, doorbell.inbox.seq))
  }
  client.on('pmessageBuffer', (_pattern: string, channel: Buffer, payload: Buffer) => {
    if (!channel.includes(':probe:')) readEnvelope(payload, () => true, take)
  })
  await client.psubscribe('carillon:*')
  return {
    get heard() {
      return heard
    },
    get late() {
      return late
    },
    async [Symbol.asyncDispose]() {
      client.disconnect()
    },
  }
}

async function connect({ redis }: FaultFleet): Promise<Redis> {
  const client = new Redis(redis.url, { lazyConnect: true, maxRetriesPerRequest: 0, retryStrategy: () => null })
  // The command that is under way fails, and says so.
  client.on('error', () => {})
  await client.connect()
  return client
}
