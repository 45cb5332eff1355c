// Whole servers in this process, over a database of their own and the tests' Redis: as many instances as a test needs.
import { pino } from 'pino'
import { inject } from 'vitest'
import { loadConfig } from '../../src/config.ts'
import { createReleases } from '../../src/releases.ts'
import { type Server, startServer } from '../../src/server.ts'
import { signToken } from '../../src/token.ts'
import { createTestDatabase, type TestDatabase } from './database.ts'

export const jwtSecret = 'a secret of the tests, of 32 bytes and more'

export interface Fleet extends AsyncDisposable {
  servers: Server[]
  /** Of the first server. */
  url: string
  test: TestDatabase
  /** Starts one more, with settings of its own. */
  start(env?: Record<string, string>): Promise<Server>
}

export interface FleetOptions {
  /** Default 1. */
  instances?: number
  /** More settings, as in the environment. `REDIS_URL: ''` is the bus in process. */
  env?: Record<string, string>
  logLevel?: string
}

export async function startFleet({ instances = 1, env = {}, logLevel = 'silent' }: FleetOptions = {}): Promise<Fleet> {
  const releases = createReleases()
  const test = await createTestDatabase()
  releases.push(() => test[Symbol.asyncDispose]())
  const servers: Server[] = []
  const start = async (more: Record<string, string> = {}) => {
    const config = loadConfig({
      PORT: '0',
      DATABASE_URL: test.url,
      REDIS_URL: inject('redisUrl'),
      CARILLON_JWT_SECRET: jwtSecret,
      CARILLON_DRAIN_MS: '0',
      CARILLON_MIGRATE: 'false',
      ...env,
      ...more,
    })
    const print = () => {}
    const server = await startServer(config, { logger: pino({ level: logLevel }), print, cwd: '/', uid: null, pid: 0 })
    releases.push(() => server.close())
    servers.push(server)
    return server
  }
  try {
    for (let i = 0; i < instances; i++) await start()
  } catch (error) {
    await releases.run()
    throw error
  }
  return { servers, url: servers[0]?.url ?? '', test, start, [Symbol.asyncDispose]: () => releases.run() }
}

/** A token for a user, or with scopes for a service. It outlasts the longest test, which runs for hours. */
export function tokenFor(sub: string, scopes: string[] = [], ttlSeconds = 24 * 3600): Promise<string> {
  return signToken({ secret: jwtSecret, sub, scopes, ttlSeconds })
}

export const serviceToken = () => tokenFor('service', ['notifications:send', 'inbox:any'])

export interface GraphqlResponse<Data> {
  status: number
  data?: Data | null
  errors?: { message: string; path?: unknown[]; extensions: { code: string } & Record<string, unknown> }[]
}

/** One operation over HTTP. */
export async function request<Data = Record<string, unknown>>(
  url: string,
  token: string | null,
  query: string,
  variables: Record<string, unknown> = {},
): Promise<GraphqlResponse<Data>> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(token !== null && { authorization: `Bearer ${token}` }) },
    body: JSON.stringify({ query, variables }),
  })
  const body: Omit<GraphqlResponse<Data>, 'status'> = await response.json()
  return { status: response.status, ...body }
}
