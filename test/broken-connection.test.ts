// What becomes of the pool, and of whoever uses it, when PostgreSQL breaks off, says nothing more, or is starting.
import { once } from 'node:events'
import { createServer } from 'node:net'
import { sql } from 'kysely'
import { pino } from 'pino'
import { expect, test, vi } from 'vitest'
import { unreachableMsMax } from '../src/health.ts'
import {
  askTimeTimeoutMs,
  closeTimeoutMs,
  connectionsMax,
  connectPostgres,
  isTransient,
  poolConnectionsMax,
  unreadResultTimeoutMs,
} from '../src/postgres.ts'
import { createReleases } from '../src/releases.ts'
import { withRetry } from '../src/retry.ts'
import { createTestDatabase } from './support/database.ts'
import { startProxy } from './support/proxy.ts'

const logger = pino({ level: 'silent' })
const deadlines = { connectMs: 600, queryMs: 600 }
/** For a busy machine; too short for a second query that gets no answer. */
const slackMs = 500

/** A database behind a proxy, used with short deadlines; `direct` goes past the proxy. */
async function behindProxy({ connectMs, queryMs } = deadlines) {
  const releases = createReleases()
  const direct = await createTestDatabase()
  releases.push(() => direct[Symbol.asyncDispose]())
  const proxy = await startProxy({ targets: [direct.url] })
  releases.push(() => proxy[Symbol.asyncDispose]())
  const database = connectPostgres(proxy.url, logger, { connectMs, queryMs })
  releases.push(() => database.close())
  /** Processes of PostgreSQL that serve this database, but for the one that is asked. */
  const backends = async (state: string) => {
    const text = `select pid from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid() and query not like '%carillon_state%' and state like $1`
    return (await direct.database.query<{ pid: number }>('backends', text, [state])).map(({ pid }) => pid)
  }
  return { database, direct: direct.database, proxy, backends, [Symbol.asyncDispose]: () => releases.run() }
}

type Behind = Awaited<ReturnType<typeof behindProxy>>

const ask = ({ database }: Behind, value: number) => database.query('ask', 'select $1::int as value', [value])

async function timed<Result>(run: () => Promise<Result>) {
  const startedAt = performance.now()
  const outcome = await run().then(
    (value) => ({ value, error: undefined }),
    (error: unknown) => ({ value: undefined, error }),
  )
  return { ...outcome, ms: performance.now() - startedAt }
}

test('a connection that breaks without a word under a Kysely query fails that query alone', async () => {
  await using t = await behindProxy()
  const { database, proxy } = t
  const query = timed(() => sql`select pg_sleep(5)`.execute(database.kysely))
  await vi.waitFor(async () => expect(await t.backends('active')).toHaveLength(1), { interval: 5 })
  proxy.cut()
  // Where nobody listens to the connection, its end is an uncaught exception, which fails the run.
  expect(isTransient((await query).error)).toBe(true)
  expect(await ask(t, 1)).toEqual([{ value: 1 }])
})

test('a connection that PostgreSQL ends is used by nobody else', async () => {
  await using t = await behindProxy()
  for (let n = 0; n < 20; n++) {
    const { error } = await timed(() => sql`select pg_terminate_backend(pg_backend_pid())`.execute(t.database.kysely))
    expect(isTransient(error)).toBe(true)
    expect(await ask(t, n)).toEqual([{ value: n }])
  }
})

test('a query that gets no answer fails in time, and its connection with it', async () => {
  await using t = await behindProxy()
  await ask(t, 1)
  const lift = t.proxy.impair({ blackhole: true })
  const { error, ms } = await timed(() => ask(t, 2))
  expect(error).toMatchObject({ message: 'Query read timeout' })
  expect(isTransient(error)).toBe(true)
  expect(ms).toBeLessThan(deadlines.queryMs + slackMs)
  lift()
  await vi.waitFor(() => expect(t.proxy.connections).toBe(0))
  expect(await ask(t, 3)).toEqual([{ value: 3 }])
})

test('a transaction whose query gets no answer fails as soon, holds nothing, and leaves no connection', async () => {
  await using t = await behindProxy()
  let lift = () => {}
  const { error, ms } = await timed(() =>
    t.database.kysely.transaction().execute(async (tx) => {
      await sql`select pg_advisory_xact_lock(1)`.execute(tx)
      lift = t.proxy.impair({ blackhole: true })
      await sql`select 1`.execute(tx)
    }),
  )
  expect(error).toMatchObject({ message: 'Query read timeout' })
  // Once: the rollback doesn't wait as long again.
  expect(ms).toBeLessThan(deadlines.queryMs + slackMs)
  lift()
  await vi.waitFor(() => expect(t.proxy.connections).toBe(0))
  await t.direct.query('lock', 'select pg_advisory_lock(1)', [])
  expect(await ask(t, 3)).toEqual([{ value: 3 }])
})

test('who waits too long for a connection fails in time, and costs the pool none', async () => {
  await using t = await behindProxy({ ...deadlines, queryMs: 5_000 })
  const sleep = () => t.database.query('sleep', 'select pg_sleep(2)', [])
  const busy = Promise.all(Array.from({ length: poolConnectionsMax }, sleep))
  await vi.waitFor(async () => expect(await t.backends('active')).toHaveLength(poolConnectionsMax), { interval: 5 })
  const waiting = await Promise.all(Array.from({ length: 30 }, (_, n) => timed(() => ask(t, n))))
  for (const { error, ms } of waiting) {
    expect(isTransient(error)).toBe(true)
    expect(ms).toBeLessThan(deadlines.connectMs + slackMs)
  }
  await busy
  const all = await Promise.all(Array.from({ length: 100 }, (_, n) => ask(t, n)))
  expect(all).toEqual(Array.from({ length: 100 }, (_, n) => [{ value: n }]))
  expect(t.proxy.connections).toBeLessThanOrEqual(poolConnectionsMax)
})

test('is used again as soon as a PostgreSQL answers that was silent for longer than every deadline', async () => {
  await using t = await behindProxy()
  await Promise.all(Array.from({ length: poolConnectionsMax }, (_, n) => ask(t, n)))
  const lift = t.proxy.impair({ blackhole: true })
  const tried: ReturnType<typeof timed>[] = []
  const until = performance.now() + 4 * (deadlines.connectMs + deadlines.queryMs)
  const trying = setInterval(() => {
    const write = () => t.database.kysely.transaction().execute((tx) => sql`select 1`.execute(tx))
    tried.push(
      timed(() => ask(t, 1)),
      timed(write),
    )
  }, 20)
  await vi.waitUntil(() => performance.now() > until, { timeout: 10_000, interval: 100 })
  clearInterval(trying)
  const silent = tried.slice(0, -2 * Math.ceil(deadlines.queryMs / 20))
  for (const { error, ms } of await Promise.all(silent)) {
    expect(isTransient(error)).toBe(true)
    expect(ms).toBeLessThan(deadlines.connectMs + deadlines.queryMs + slackMs)
  }
  lift()
  const liftedAt = performance.now()
  await vi.waitFor(async () => expect(await ask(t, 7)).toEqual([{ value: 7 }]), { timeout: 5_000, interval: 20 })
  expect(performance.now() - liftedAt).toBeLessThan(1_000)
  await Promise.all(tried)
  const all = await Promise.all(Array.from({ length: 100 }, (_, n) => ask(t, n)))
  expect(all).toEqual(Array.from({ length: 100 }, (_, n) => [{ value: n }]))
  expect(t.proxy.connections).toBeLessThanOrEqual(poolConnectionsMax)
})

test('the time is asked in time, over a new connection after one that failed', async () => {
  await using t = await behindProxy()
  const told = async () => Math.abs((await t.database.askTime()) - Date.now())
  expect(await told()).toBeLessThan(1_000)
  t.proxy.cut()
  await vi.waitFor(async () => expect(await told()).toBeLessThan(1_000))
  const lift = t.proxy.impair({ blackhole: true })
  expect(await timed(() => t.database.askTime())).toMatchObject({ error: { message: 'Query read timeout' } })
  const { error, ms } = await timed(() => t.database.askTime())
  expect(error).toMatchObject({ message: expect.stringMatching(/timeout/) })
  expect(ms).toBeLessThan(askTimeTimeoutMs + slackMs)
  expect(2 * askTimeTimeoutMs).toBeLessThan(unreachableMsMax)
  lift()
  expect(await told()).toBeLessThan(1_000)
  // That of an attempt that was given up ends in its own time.
  await vi.waitFor(() => expect(t.proxy.connections).toBeLessThanOrEqual(connectionsMax - poolConnectionsMax))
})

test('a PostgreSQL that is still starting is one to try again later', async () => {
  await using starting = await pretendPostgres(fatal('57P03', 'the database system is starting up'))
  const { database } = starting
  const calls: (() => Promise<unknown>)[] = [
    () => database.query('one', 'select 1', []),
    () => sql`select 1`.execute(database.kysely),
    () => database.kysely.transaction().execute((tx) => sql`select 1`.execute(tx)),
    () => database.askTime(),
  ]
  for (const call of calls) {
    const { error } = await timed(call)
    expect(error).toMatchObject({ code: '57P03' })
    expect(isTransient(error)).toBe(true)
    await expect(withRetry(call)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  }
})

test('a PostgreSQL that welcomes and dismisses in the same breath is one to try again later', async () => {
  const welcome = [message('R', Buffer.alloc(4)), message('Z', Buffer.from('I'))]
  await using ending = await pretendPostgres(...welcome, fatal('57P01', 'terminating connection'))
  // Where nobody listens to the connection, its end is an uncaught exception, which fails the run.
  const { error } = await timed(() => ending.database.query('one', 'select 1', []))
  expect(isTransient(error)).toBe(true)
})

test('who takes no result any more holds its locks for some seconds at most', async () => {
  await using t = await behindProxy()
  await t.direct.query('make', "insert into inboxes (user_id, last_seq, last_created_at) values ('u', 0, now())", [])
  await ask(t, 1)
  const lift = t.proxy.impair({ blackhole: true, direction: 'toClient' })
  // More than fits between the two: some kernels buffer up to 32 MiB.
  const statement = `with locked as materialized (select user_id from inboxes for update)
    select repeat('x', 10000000) from locked, generate_series(1, 20)`
  const held = timed(() => t.database.query('hold', statement, []))
  await vi.waitFor(async () => expect(await t.backends('active')).toHaveLength(1), { interval: 5 })
  t.proxy.impair({ blackhole: true })
  lift()
  const { error } = await held
  expect(isTransient(error)).toBe(true)
  const update = "update inboxes set last_seq = 1 where user_id = 'u'"
  expect((await timed(() => t.direct.query('change', update, []))).error).toMatchObject({ code: '55P03' })
  const isFree = () => t.direct.query('change', update, [])
  await vi.waitFor(isFree, 2 * unreadResultTimeoutMs)
})

test('closing does not wait for a PostgreSQL that says nothing', async () => {
  await using t = await behindProxy()
  const database = connectPostgres(t.proxy.url, logger)
  await database.query('one', 'select 1', [])
  t.proxy.impair({ blackhole: true })
  const { error, ms } = await timed(() => database.close())
  expect(error).toBeUndefined()
  expect(ms).toBeLessThan(closeTimeoutMs + slackMs)
})

/** What listens where PostgreSQL is expected, and answers whatever it is told with these messages, in one piece. */
async function pretendPostgres(...messages: Buffer[]) {
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.once('data', () => socket.end(Buffer.concat(messages)))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const database = connectPostgres(`postgres://u:p@127.0.0.1:${address.port}/d`, logger, deadlines)
  return {
    database,
    async [Symbol.asyncDispose]() {
      await database.close()
      server.close()
    },
  }
}

const fatal = (code: string, text: string) => message('E', Buffer.from(`SFATAL\0VFATAL\0C${code}\0M${text}\0\0`))

/** As PostgreSQL frames one. */
function message(type: string, body: Buffer): Buffer {
  const head = Buffer.from(`${type}....`)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}
