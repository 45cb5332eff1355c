import { createClient } from 'graphql-ws'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import WebSocket from 'ws'
import type { ErrorCode } from '../../src/errors.ts'
import { readInbox } from '../../src/notifications/inbox.ts'
import {
  createSendLimit,
  statementSendersMax,
  waitingMsMax,
  waitingSendsMax,
} from '../../src/notifications/send-limit.ts'
import { createSweep } from '../../src/notifications/sweep.ts'
import type { Database } from '../../src/postgres.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { type Fleet, request, serviceToken, startFleet, tokenFor } from '../support/server.ts'
import { createSlice, input, retentionMs } from '../support/slice.ts'

/** A token every 20 seconds: none comes back while a test runs, unless the test turns back the time. */
const perMinute = 3

const mutation =
  'mutation ($title: String!) { sendNotification(input: { userId: "alice", title: $title }) { duplicate } }'

/** As if so much time had passed for the sender. */
async function pass(database: Database, ms: number, sender = 'service'): Promise<void> {
  const moved = "update send_rates set full_at = full_at - $1 * interval '1 millisecond' where sender = $2 returning 1"
  expect(await database.query('test-pass', moved, [ms, sender])).toHaveLength(1)
}

interface RateLimited {
  code: ErrorCode
  details: { retryAfterMs: number }
}

const refusal = (sent: Promise<unknown>): Promise<RateLimited> =>
  sent.then(
    () => expect.unreachable('it was sent'),
    (error) => error,
  )

describe('a sender', () => {
  test('may send as many as the rate at once, and one more when a token is free again', async () => {
    await using slice = await createSlice({ sendRatePerMinute: perMinute })
    for (let sent = 0; sent < perMinute; sent++) await slice.send('service', input())
    const { code, details } = await refusal(slice.send('service', input()))
    expect(code).toBe('RATE_LIMITED')
    expect(details.retryAfterMs).toSatisfy(Number.isInteger)
    expect(details.retryAfterMs).toBeGreaterThan(10_000)
    expect(details.retryAfterMs).toBeLessThanOrEqual(20_000)
    await pass(slice.database, details.retryAfterMs / 2)
    const { details: later } = await refusal(slice.send('service', input()))
    expect(later.retryAfterMs).toBeLessThanOrEqual(details.retryAfterMs / 2)
    expect(later.retryAfterMs).toBeGreaterThanOrEqual(1)
    await pass(slice.database, later.retryAfterMs)
    expect((await slice.send('service', input())).notification.seq).toBe(perMinute + 1)
    expect((await refusal(slice.send('service', input()))).code).toBe('RATE_LIMITED')
  })

  test('has the whole rate again after a minute, and no more after an hour', async () => {
    await using slice = await createSlice({ sendRatePerMinute: perMinute })
    const inputs = Array.from({ length: perMinute + 1 }, () => input())
    for (const ms of [0, 60_000, 3_600_000]) {
      if (ms > 0) await pass(slice.database, ms)
      const results = await slice.sendMany('service', inputs)
      expect(results.filter(({ error }) => error === null)).toHaveLength(perMinute)
      expect((await refusal(slice.send('service', input()))).code).toBe('RATE_LIMITED')
    }
  })

  test('shares its tokens with no other', async () => {
    await using slice = await createSlice({ sendRatePerMinute: perMinute })
    const inputs = Array.from({ length: perMinute }, () => input())
    const [mine, others] = await Promise.all(['mine', "other's"].map((sender) => slice.sendMany(sender, inputs)))
    expect([mine, others].flat().filter((result) => result?.error)).toEqual([])
    expect((await refusal(slice.send('mine', input()))).code).toBe('RATE_LIMITED')
  })

  test('of a batch gets the first that fit, and what does not hold takes no token', async () => {
    await using slice = await createSlice({ sendRatePerMinute: perMinute })
    const titles = ['1', '', '2', '3', '4', '', '5']
    const results = await slice.sendMany('service', [
      input({ expiresAt: Date.now() - 1_000 }),
      ...titles.map((title) => input({ title })),
    ])
    expect(results.map(({ error, payload }) => error?.code ?? payload?.notification.title)).toEqual([
      'BAD_USER_INPUT',
      '1',
      'BAD_USER_INPUT',
      '2',
      '3',
      'RATE_LIMITED',
      'BAD_USER_INPUT',
      'RATE_LIMITED',
    ])
    expect(results.at(-1)?.error?.message).toMatch(/try again in \d+ ms/)
    expect((await readInbox(slice.database, 'alice')).seq).toBe(perMinute)
  })

  test('takes a token for a key that was used before', async () => {
    await using slice = await createSlice({ sendRatePerMinute: perMinute })
    const keyed = input({ idempotencyKey: 'once' })
    for (let sent = 0; sent < perMinute; sent++) await slice.send('service', keyed)
    expect((await refusal(slice.send('service', keyed))).code).toBe('RATE_LIMITED')
  })

  test('is counted when refused, by mutation', async () => {
    await using slice = await createSlice({ sendRatePerMinute: perMinute })
    await slice.sendMany(
      'service',
      Array.from({ length: perMinute + 2 }, () => input()),
    )
    await refusal(slice.send('service', input()))
    const { values } = await slice.metrics.rateLimited.get()
    expect(values).toEqual([
      { labels: { operation: 'sendNotifications' }, value: 2 },
      { labels: { operation: 'sendNotification' }, value: 1 },
    ])
  })
})

test('without a limit, sending needs no table of rates', async () => {
  await using slice = await createSlice()
  await slice.database.query('test-drop', 'drop table send_rates', [])
  const results = await slice.sendMany(
    'service',
    Array.from({ length: 1_000 }, () => input()),
  )
  expect(results.filter(({ error }) => error)).toEqual([])
})

describe('the buckets', () => {
  let testDatabase: TestDatabase
  let database: Database
  beforeEach(async () => {
    testDatabase = await createTestDatabase()
    database = testDatabase.database
  })
  afterEach(() => testDatabase[Symbol.asyncDispose]())

  const isGranted = (retryAfterMs: number) => retryAfterMs === 0

  test.each([1, 7, 49, 997, 19_999])('of %i tokens have neither one more nor one less', async (rate) => {
    const limit = createSendLimit({ database, perMinute: rate })
    // In one turn, so that one statement and one moment decide; twice, for there is a row the second time.
    for (const round of [1, 2]) {
      if (round === 2) await pass(database, 60_000)
      const taken = await Promise.all(Array.from({ length: rate + 1 }, () => limit.take('service')))
      expect(taken.map(isGranted)).toEqual(taken.map((_, index) => index < rate))
    }
  })

  test('keep nobody waiting for more than a minute where the clock was set back', async () => {
    const limit = createSendLimit({ database, perMinute })
    await limit.take('service')
    await pass(database, -3_600_000)
    expect(await limit.take('service')).toBeLessThanOrEqual(20_000)
  })

  test('take a lower rate as it comes', async () => {
    const higher = createSendLimit({ database, perMinute: 100 })
    await Promise.all(Array.from({ length: 60 }, () => higher.take('service')))
    const lower = createSendLimit({ database, perMinute: 10 })
    // Six tenths are used up, whatever there are tenths of.
    const taken = await Promise.all(Array.from({ length: 5 }, () => lower.take('service')))
    expect(taken.map(isGranted)).toEqual([true, true, true, true, false])
  })

  test('cost no flush: their table is unlogged', async () => {
    const persistence = "select relpersistence from pg_class where oid = 'send_rates'::regclass"
    expect(await database.query('test-persistence', persistence, [])).toEqual([{ relpersistence: 'u' }])
  })

  test('are swept once they are full again, in batches, and no sooner', async () => {
    await using slice = await createSlice()
    const insert = (count: number, fullIn: string) =>
      slice.database.query(
        'test-insert',
        'insert into send_rates select $2 || i, now() + $2::interval, 1 from generate_series(1, $1) i',
        [count, fullIn],
      )
    await insert(1_100, '-1 seconds')
    await insert(3, '50 seconds')
    await createSweep({ ...slice, retentionMs }).run()
    const left = await slice.database.query('test-left', 'select sender from send_rates order by sender', [])
    expect(left.map(({ sender }) => sender)).toEqual(['50 seconds1', '50 seconds2', '50 seconds3'])
  })

  test('that are locked for a while are waited for', async () => {
    const limit = createSendLimit({ database, perMinute })
    await limit.take('service')
    const query = vi.spyOn(database, 'query')
    await using holder = await connect(testDatabase.url)
    await holder.query('begin; select from send_rates for update')
    const taken = limit.take('service')
    await vi.waitFor(() => expect(query.mock.calls.length).toBeGreaterThan(1), 5_000)
    await holder.query('rollback')
    expect(await taken).toBe(0)
  })

  test('are locked in one order', async () => {
    const limit = createSendLimit({ database, perMinute })
    const takeBoth = () => Promise.all(['b', 'a'].map((sender) => limit.take(sender)))
    await takeBoth()
    await using holder = await connect(testDatabase.url)
    await holder.query("begin; select from send_rates where sender = 'a' for update")
    const taken = takeBoth()
    const waiting = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`
    await vi.waitFor(async () => expect((await holder.query(waiting)).rowCount).toBe(1), {
      timeout: 5_000,
      interval: 5,
    })
    await using onlooker = await connect(testDatabase.url)
    expect((await onlooker.query("select from send_rates where sender = 'b' for update nowait")).rowCount).toBe(1)
    await holder.query('rollback')
    expect(await taken).toEqual([0, 0])
  })

  async function connect(url: string) {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() })
  }
})

describe('a statement under way', () => {
  test('lets all others gather for the next, whoever sends them, in their order', async () => {
    await using slice = await createSlice({ sendRatePerMinute: 1_000 })
    const query = vi.spyOn(slice.database, 'query')
    const statements = () => query.mock.calls.filter(([name]) => name === 'take-tokens').length
    const sent = [slice.send('service-0', input())]
    await vi.waitFor(() => expect(statements()).toBe(1))
    for (let index = 0; index < 100; index++) {
      sent.push(slice.send(`service-${index % 10}`, input({ title: `${index}` })))
      // Each in a turn of its own, as requests come.
      await Promise.resolve()
    }
    const seqs = (await Promise.all(sent)).map(({ notification }) => notification.seq)
    expect(statements()).toBeLessThanOrEqual(3)
    // In the order in which they came.
    expect(seqs).toEqual(Array.from({ length: 101 }, (_, index) => index + 1))
  })

  test('holds the rows of so many senders at most, and divides none', async () => {
    const { limit, statements, answer } = setUp()
    const taken = Array.from({ length: statementSendersMax + 1 }, (_, index) => limit.take(`service-${index}`))
    taken.push(limit.take('service-0'))
    await answer()
    await answer()
    expect(statements.map((asked) => asked.length)).toEqual([statementSendersMax, 1])
    expect(statements.map(([first]) => first?.n)).toEqual([2, 1])
    expect(new Set(await Promise.all(taken))).toEqual(new Set([0]))
  })

  test('that fails is UNAVAILABLE to those in it, and to no other', async () => {
    const { limit, answer } = setUp()
    const first = limit.take('a')
    const second = ['a', 'b'].map((sender) => Promise.resolve().then(() => limit.take(sender)))
    await answer(new Error('Connection terminated unexpectedly'))
    await expect(first).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await answer()
    expect(await Promise.all(second)).toEqual([0, 0])
  })

  test('that takes too long is waited for no longer', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    try {
      const { limit, statements, answer } = setUp()
      const first = limit.take('a')
      await Promise.resolve()
      expect(statements).toHaveLength(1)
      const outcomes: unknown[] = []
      const behind = limit.take('a').catch((error) => outcomes.push(error.code))
      await vi.advanceTimersByTimeAsync(waitingMsMax - 1)
      expect(outcomes).toEqual([])
      await vi.advanceTimersByTimeAsync(1)
      expect(outcomes).toEqual(['UNAVAILABLE'])
      await behind
      await answer()
      expect(await first).toBe(0)
      expect(statements).toHaveLength(1)
      expect(vi.getTimerCount()).toBe(0)
    } finally {
      vi.useRealTimers()
    }
  })

  test('has so many waiting behind it, and more are refused at once until there is room again', async () => {
    const { limit, answer } = setUp()
    const waiting = Array.from({ length: waitingSendsMax }, () => limit.take('a'))
    await expect(limit.take('b')).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await answer()
    expect(new Set(await Promise.all(waiting))).toEqual(new Set([0]))
    const next = limit.take('b')
    await answer()
    expect(await next).toBe(0)
  })

  interface Asked {
    s: string
    n: number
  }

  /** A limit over a database that answers when it is told to, and then grants everything. */
  function setUp() {
    const statements: Asked[][] = []
    const pending: ((error?: Error) => void)[] = []
    const query = (_name: string, _text: string, [asked]: unknown[]) => {
      const senders: Asked[] = JSON.parse(String(asked))
      statements.push(senders)
      return new Promise<never[]>((resolve, reject) => {
        const rows: never[] = JSON.parse(
          JSON.stringify(senders.map(({ s, n }) => ({ sender: s, granted: n, retryAfterMs: 1 }))),
        )
        pending.push((error) => (error ? reject(error) : resolve(rows)))
      })
    }
    return {
      limit: createSendLimit({ database: { query }, perMinute: 1_000_000 }),
      statements,
      async answer(error?: Error) {
        await vi.waitFor(() => expect(pending).not.toHaveLength(0))
        pending.shift()?.(error)
      },
    }
  }
})

describe('a fleet', () => {
  let fleet: Fleet
  beforeEach(async () => {
    fleet = await startFleet({ instances: 2, env: { CARILLON_SEND_RATE_PER_MINUTE: String(perMinute) } })
  })
  afterEach(() => fleet[Symbol.asyncDispose]())

  test('grants one sender no more than one server does, however many ask at once', async () => {
    const token = await serviceToken()
    const start = performance.now()
    const answers = await Promise.all(
      Array.from({ length: 64 }, (_, index) =>
        request(fleet.servers[index % 2]?.url ?? '', token, mutation, { title: `${index}` }),
      ),
    )
    // One more where the machine was so slow that a token came back.
    const regained = Math.floor((performance.now() - start) / (60_000 / perMinute))
    const sent = answers.filter(({ errors }) => !errors)
    expect(sent.length).toBeGreaterThanOrEqual(perMinute)
    expect(sent.length).toBeLessThanOrEqual(perMinute + regained)
    const codes = answers.flatMap(({ errors = [] }) => errors.map(({ extensions }) => extensions.code))
    expect(new Set(codes)).toEqual(new Set(['RATE_LIMITED']))
  })

  test('answers alike over HTTP, server-sent events and WebSocket', async () => {
    const token = await serviceToken()
    const [first, second] = fleet.servers.map(({ url }) => url)
    for (let sent = 0; sent < perMinute; sent++) {
      expect(await request(first ?? '', token, mutation, { title: 'x' })).toMatchObject({ data: expect.anything() })
    }
    const limited = { message: expect.stringMatching(/try again in \d+ ms/), path: ['sendNotification'] }
    const extensions = { code: 'RATE_LIMITED', retryAfterMs: expect.toSatisfy(isWait) }
    const expected = [expect.objectContaining({ ...limited, extensions })]
    const variables = { title: 'x' }
    const { status, data, errors } = await request(second ?? '', token, mutation, variables)
    expect([status, data, errors]).toEqual([200, null, expected])
    expect(await overSse(second ?? '', token, variables)).toMatchObject({ data: null, errors: expected })
    expect(await overSocket(second ?? '', token, variables)).toMatchObject({ data: null, errors: expected })
    const metrics = await fetch(`${second}/metrics`, {
      headers: { authorization: `Bearer ${await tokenFor('prometheus', ['admin'])}` },
    })
    expect(await metrics.text()).toMatch(/^carillon_rate_limited_total\{operation="sendNotification"\} 3$/m)
  })

  const isWait = (ms: unknown) => Number.isInteger(ms) && Number(ms) >= 1 && Number(ms) <= 20_000

  async function overSse(url: string, token: string, variables: object): Promise<unknown> {
    const response = await fetch(`${url}/graphql`, {
      method: 'POST',
      headers: {
        accept: 'text/event-stream',
        'content-type': 'application/json',
        authorization: `Bearer ${token}`,
      },
      body: JSON.stringify({ query: mutation, variables }),
    })
    const [, data = ''] = /^data: (.+)$/m.exec(await response.text()) ?? []
    return JSON.parse(data)
  }

  async function overSocket(url: string, token: string, variables: Record<string, unknown>): Promise<unknown> {
    const client = createClient({
      url: `${url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { authorization: token },
    })
    try {
      const results = client.iterate({ query: mutation, variables })
      const { value } = await results.next()
      return value
    } finally {
      await client.dispose()
    }
  }
})
