// What may happen to a fleet, each as something that begins and is over when its promise resolves. The numbers are those of
// docs/PROTOCOL.md, where the case that examines each one alone is named.
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import type { FaultFleet } from './fleet.ts'
import type { Instance } from './instance.ts'

export interface Fault {
  name: string
  /** Holds it for `ms` where it is a state, and is over, with everything running again, when it resolves. */
  happen(fleet: FaultFleet, victim: Instance, ms: number): Promise<void>
  /** What it takes hold of: two that share something don't happen at once. */
  on: readonly ('redis' | 'postgres' | 'instance')[]
  /** The victim's process ends, and one that starts needs PostgreSQL. */
  endsProcess?: boolean
}

export const faults: readonly Fault[] = [
  {
    name: '1 Redis killed',
    on: ['redis'],
    async happen({ redis }, _, ms) {
      await redis.kill()
      await sleep(ms)
      await redis.restart()
    },
  },
  {
    name: '2 Redis frozen',
    on: ['redis'],
    async happen({ redis }, _, ms) {
      redis.pause()
      await sleep(ms)
      redis.resume()
    },
  },
  {
    name: '3 subscriber connection half-open',
    on: ['redis'],
    async happen(_, victim, ms) {
      const lift = victim.redis.impair({
        which: /carillon-subscriber/,
        direction: 'toClient',
        blackhole: true,
        isOld: true,
      })
      await sleep(ms)
      lift()
    },
  },
  {
    name: '4 pub/sub clients killed once a second',
    on: ['redis'],
    async happen(fleet, _, ms) {
      for (const until = performance.now() + ms; performance.now() < until; await sleep(1_000)) {
        await command(fleet, 'CLIENT', 'KILL', 'TYPE', 'pubsub')
      }
    },
  },
  {
    name: '5 doorbells lost',
    on: ['redis'],
    async happen(fleet, _, ms) {
      await command(fleet, 'ACL', 'SETUSER', 'default', '-publish')
      // Shorter than the probe needs to notice.
      await sleep(Math.min(ms, 500))
      await command(fleet, 'ACL', 'SETUSER', 'default', '+publish')
    },
  },
  { name: '6 FLUSHALL', on: ['redis'], happen: (fleet) => command(fleet, 'FLUSHALL') },
  {
    name: '6b Redis down while clients subscribe',
    on: ['redis'],
    async happen({ redis }, victim, ms) {
      await redis.kill()
      victim.clients.cut()
      await sleep(ms)
      await redis.restart()
    },
  },
  {
    name: '6b PostgreSQL down while clients subscribe',
    on: ['postgres'],
    async happen({ postgres }, victim, ms) {
      await postgres.kill()
      victim.clients.cut()
      await sleep(ms)
      await postgres.start()
    },
  },
  {
    name: '7 subscriber dropped while the instance is frozen',
    on: ['redis', 'instance'],
    async happen(fleet, victim, ms) {
      victim.freeze()
      await sleep(ms / 2)
      await command(fleet, 'CLIENT', 'KILL', 'TYPE', 'pubsub')
      await sleep(ms / 2)
      victim.thaw()
    },
  },
  {
    name: '8 PostgreSQL killed',
    on: ['postgres'],
    async happen({ postgres }, _, ms) {
      await postgres.kill()
      await sleep(ms)
      await postgres.start()
    },
  },
  {
    name: '9 PostgreSQL frozen',
    on: ['postgres'],
    async happen({ postgres }, _, ms) {
      await postgres.freeze()
      await sleep(ms)
      await postgres.thaw()
    },
  },
  {
    name: '9 PostgreSQL blackholed',
    on: ['postgres'],
    async happen(_, victim, ms) {
      const lift = victim.postgres.impair({ blackhole: true })
      await sleep(ms)
      lift()
    },
  },
  {
    name: '10 instance killed',
    on: ['instance', 'postgres'],
    endsProcess: true,
    async happen(_, victim, ms) {
      await victim.kill()
      await sleep(Math.min(ms, 1_000))
      await victim.start()
    },
  },
  {
    name: '11 instance told to stop',
    on: ['instance', 'postgres'],
    endsProcess: true,
    async happen(_, victim) {
      const status = await victim.stop()
      if (status !== 0) victim.defects.push(`it stopped with the exit status ${status}`)
      await victim.start()
    },
  },
  {
    name: '12 instance frozen',
    on: ['instance'],
    async happen(_, victim, ms) {
      victim.freeze()
      await sleep(ms)
      victim.thaw()
    },
  },
]

/** Past the proxies. */
export async function command({ redis }: FaultFleet, name: string, ...parameters: string[]): Promise<void> {
  const client = new Redis(redis.url, { lazyConnect: true, maxRetriesPerRequest: 0, retryStrategy: () => null })
  await client.connect()
  try {
    await client.call(name, ...parameters)
  } finally {
    client.disconnect()
  }
}
