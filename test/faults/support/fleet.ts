// A fleet as it runs in production: server processes over one PostgreSQL and one Redis, each reached through proxies, and
// every part of it killed, frozen and cut off as a test says.
import { pino } from 'pino'
import { inject } from 'vitest'
import { migrate } from '../../../src/migrate.ts'
import { connectPostgres } from '../../../src/postgres.ts'
import { createReleases } from '../../../src/releases.ts'
import { build, type Sabotage } from '../../support/built.ts'
import { type OwnRedis, startRedis } from '../../support/redis.ts'
import { Instance } from './instance.ts'
import { type Postgres, startPostgres } from './postgres.ts'

export interface FaultFleet extends AsyncDisposable {
  readonly instances: readonly Instance[]
  readonly postgres: Postgres
  readonly redis: OwnRedis
  /** The instance at this place, round and round. */
  instance(place: number): Instance
}

export interface FaultFleetOptions {
  /** Default 2. */
  instances?: number
  /** Settings of all. */
  env?: Record<string, string>
  /** Settings of one, by its place. */
  instanceEnv?: Record<number, Record<string, string>>
  /**
   * Places of those that reach PostgreSQL and Redis past their proxies, which are in the process of the test: where that is
   * busy with thousands of clients, the proxies would be slow too.
   */
  direct?: readonly number[]
  /** Arguments for the Node of one, by its place. */
  nodeArguments?: Record<number, string[]>
  redisSettings?: string[]
  postgresEnvironment?: Record<string, string>
  /** Defects to plant in the program, for a control: the test has to notice them. */
  sabotage?: readonly Sabotage[]
}

export async function startFaultFleet(options: FaultFleetOptions = {}): Promise<FaultFleet> {
  const { instances: count = 2, env = {}, instanceEnv = {}, nodeArguments = {}, direct = [], sabotage = [] } = options
  const releases = createReleases()
  const acquire = <Resource extends AsyncDisposable>(resource: Resource): Resource => {
    releases.push(() => resource[Symbol.asyncDispose]())
    return resource
  }
  try {
    const main = sabotage.length > 0 ? acquire(await build(sabotage)).main : inject('program')
    const postgres = acquire(await startPostgres({ environment: options.postgresEnvironment ?? {} }))
    const redis = acquire(await startRedis({ settings: options.redisSettings ?? [] }))
    const database = connectPostgres(postgres.url, pino({ level: 'silent' }))
    await migrate(database).finally(() => database.close())
    const instances: Instance[] = []
    for (let place = 0; place < count; place++) {
      const instance = await Instance.create({
        main,
        postgresUrl: postgres.url,
        redisUrl: redis.url,
        env: {
          ...(direct.includes(place) && { DATABASE_URL: postgres.url, REDIS_URL: redis.url }),
          ...env,
          ...instanceEnv[place],
        },
        nodeArguments: nodeArguments[place] ?? [],
      })
      instances.push(acquire(instance))
      await instance.start()
    }
    const instance = (place: number) => {
      const found = instances[place % instances.length]
      if (!found) throw new Error('a fleet has an instance at least')
      return found
    }
    return { instances, postgres, redis, instance, [Symbol.asyncDispose]: () => releases.run() }
  } catch (error) {
    await releases.run()
    throw error
  }
}
