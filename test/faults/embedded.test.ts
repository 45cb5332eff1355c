// With nothing configured the server runs a PostgreSQL of its own. Either is killed, in any order and at any moment, while
// services send and users read: nothing accepted is lost, and the next start works.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { expect, inject, test, vi } from 'vitest'
import { databaseUser } from '../../src/embedded-postgres-postmaster.ts'
import { type EmptyFolder, emptyFolder, isAlive, type Running, run } from '../support/built.ts'
import { freePort } from '../support/redis.ts'
import { jwtSecret } from '../support/server.ts'
import { childrenOf } from './support/postgres.ts'
import { figure, sized } from './support/scale.ts'
import { flawless, quantile, type Tested, Workload } from './support/workload.ts'

type Victim = 'server' | 'database'

/** Who is killed after whom; a server that was killed is started again before it can be the next, and at the end. */
const orders: readonly (readonly Victim[])[] = [
  ['database'],
  ['server', 'database'],
  ['database', 'server'],
  ['server'],
  ['server', 'server'],
]
/** In ms. A start takes some hundreds, so that the second of two kills meets one at different moments. */
const pausesMs = [200, 0, 50, 800]
const rounds = sized<readonly { victims: readonly Victim[]; pauseMs: number }[]>(
  [
    { victims: ['database', 'server'], pauseMs: 200 },
    { victims: ['server', 'database'], pauseMs: 0 },
  ],
  pausesMs.flatMap((pauseMs) => orders.map((victims) => ({ victims, pauseMs }))),
)
/** PostgreSQL recovers, and writes its whole folder to disk before that: a second or so, several on a loaded machine. */
const nextStartMsMax = 10_000
/** Accepted before each round. */
const sendsMin = 10
const acceptMsMax = 30_000

test('the server and its PostgreSQL are killed in any order: nothing is lost, and the next start works', async () => {
  await using folder = await emptyFolder()
  await using embedded = new Embedded(folder, await freePort())
  await embedded.start()
  await using workload = await Workload.start({ fleet: embedded, users: 5, perSecond: 50, underWayMax: 20 })
  const { accepted } = workload.writers
  const acceptsMore = async (count: number) => {
    const { length } = accepted
    await vi.waitFor(() => expect(accepted.length).toBeGreaterThan(length + count), acceptMsMax)
  }
  const startsMs: number[] = []
  const comebacksMs: number[] = []
  for (const [index, { victims, pauseMs }] of rounds.entries()) {
    await acceptsMore(sendsMin)
    for (const [place, victim] of victims.entries()) {
      if (victim === 'server' && !embedded.isRunning) embedded.begin()
      if (place > 0) await sleep(pauseMs)
      if (victim === 'server') await embedded.kill()
      else await embedded.killDatabase({ wholly: index % 2 === 0 })
    }
    const killedAt = performance.now()
    if (!embedded.isRunning) startsMs.push(await embedded.start())
    await acceptsMore(0)
    comebacksMs.push(performance.now() - killedAt)
  }
  expect(await workload.verdict()).toEqual(flawless)
  startsMs.sort((a, b) => a - b)
  figure('25. embedded, killed in any order', {
    rounds: rounds.length,
    accepted: accepted.length,
    'next start ms, median': quantile(startsMs, 0.5),
    'and slowest': startsMs.at(-1) ?? 0,
    'accepting again after ms, slowest': Math.max(...comebacksMs),
  })
  expect(startsMs.at(-1)).toBeLessThan(nextStartMsMax)
})

/** A server in a folder of its own, as `npm start` runs it, and the PostgreSQL that it keeps there. */
class Embedded implements Tested, AsyncDisposable {
  readonly url: string
  readonly instances = [this]
  readonly defects: string[] = []
  readonly #folder: EmptyFolder
  readonly #port: number
  #server: Running | undefined

  constructor(folder: EmptyFolder, port: number) {
    this.#folder = folder
    this.#port = port
    this.url = `http://127.0.0.1:${port}`
  }

  get isRunning(): boolean {
    return this.#server !== undefined
  }

  instance(): this {
    return this
  }

  /** Does not wait for it. */
  begin(): Running {
    const env = { PORT: String(this.#port), CARILLON_JWT_SECRET: jwtSecret, CARILLON_DRAIN_MS: '0' }
    const server = run({ main: inject('program') }, ['serve'], { cwd: this.#folder.path, env })
    this.#server = server
    void server.ended.then((status) => {
      if (this.#server === server) this.defects.push(`ended by itself with ${status}: ${server.stderr()}`)
      this.defects.push(...defectsIn(server))
    })
    return server
  }

  /** Takes requests when it returns how long that took, in ms. */
  async start(): Promise<number> {
    const begunAt = performance.now()
    await this.begin().printed(/the server is ready/)
    return performance.now() - begunAt
  }

  async kill(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    await server?.end('SIGKILL')
  }

  /** With all its processes at once, or the first alone, which leaves the others to find out. */
  async killDatabase({ wholly }: { wholly: boolean }): Promise<void> {
    const pid = await this.#folder.postmasterPid()
    // A moment ago it was killed already.
    if (pid === undefined || !isAlive(pid)) return
    for (const one of [pid, ...(wholly ? await childrenOf(pid) : [])]) if (isAlive(one)) process.kill(one, 'SIGKILL')
  }

  readonly postgres: Tested['postgres'] = {
    query: async <Row extends pg.QueryResultRow>(text: string, values: unknown[] = []) => {
      const home = join(this.#folder.path, '.carillon/postgres')
      const password = await readFile(join(home, 'password'), 'utf8')
      const [, , , port] = (await readFile(join(home, 'cluster/postmaster.pid'), 'utf8')).split('\n')
      const client = new pg.Client({
        host: '127.0.0.1',
        port: Number(port),
        user: databaseUser,
        password,
        database: 'postgres',
      })
      await client.connect()
      try {
        return (await client.query<Row>(text, values)).rows
      } finally {
        await client.end()
      }
    },
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }
}

/** That its PostgreSQL went away is an error to it, and here no defect. */
function defectsIn(server: Running): string[] {
  const lines = server
    .stdout()
    .split('\n')
    .filter((line) => line.startsWith('{'))
  const isDefect = (line: string) => JSON.parse(line).level >= 50 && !/the embedded PostgreSQL/.test(line)
  return [...lines.slice(0, -1).filter(isDefect), ...server.stderr().split('\n').filter(Boolean)]
}
