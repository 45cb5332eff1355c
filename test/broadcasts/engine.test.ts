// How broadcasts are worked off: ranges, leases, priorities, what fails and what is tried again; over a database and the
// real statements, with the worker's moments in the test's hands.
import { sql } from 'kysely'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createAppendBatch } from '../../src/broadcasts/append-batch.ts'
import { type Claim, claimRange, leaseMs, releaseRange, renewLease } from '../../src/broadcasts/claim.ts'
import { type BroadcastInput, createCreateBroadcast } from '../../src/broadcasts/create.ts'
import { completeBroadcasts, forgetBroadcasts, stopBroadcast } from '../../src/broadcasts/end.ts'
import { startBroadcastEngine } from '../../src/broadcasts/engine.ts'
import { planBroadcast } from '../../src/broadcasts/plan.ts'
import { readQueue } from '../../src/broadcasts/queue.ts'
import { findBroadcast } from '../../src/broadcasts/read.ts'
import { attemptsMax, createWork, stretchUsersMax, type WorkerOptions } from '../../src/broadcasts/worker.ts'
import { createRenderer, type Renderer } from '../../src/templates/renderer.ts'
import { createUsers, logs, userName } from '../support/broadcasts.ts'
import { doorbells } from '../support/log.ts'
import { createSlice, type Slice } from '../support/slice.ts'

let slice: Slice
let renderer: Renderer
beforeEach(async () => {
  slice = await createSlice()
  renderer = createRenderer()
})
afterEach(async () => {
  await renderer.close()
  await slice[Symbol.asyncDispose]()
})

const create = (input: Partial<BroadcastInput> = {}) => {
  const templates = { find: () => Promise.resolve(null) }
  const { database } = slice
  return createCreateBroadcast({ database, templates, now: Date.now, onQueued() {} })('service', {
    segment: { everyone: true },
    content: { title: 'Hello' },
    category: 'general',
    priority: 'NORMAL',
    ...input,
  })
}

function workWith(options: Partial<WorkerOptions> = {}) {
  const { database, bus, metrics, logger } = slice
  const appendBatch = createAppendBatch(database, 0)
  return createWork({ database, bus, renderer, appendBatch, metrics, logger, batchUsers: 2_000, ...options })
}

async function claimed(): Promise<Claim> {
  const claim = await claimRange(slice.database)
  if (!claim) throw new Error('nothing to claim')
  return claim
}

const going = () => false
const stretchOf = (numbers: number[], cursor = '') => ({
  items: JSON.stringify(
    numbers.map((number) => ({ i: crypto.randomUUID(), u: userName(number), t: 'Hello', b: null, l: null })),
  ),
  failed: 0,
  failure: null,
  cursor,
  upTo: userName(numbers.at(-1) ?? 0),
  isLast: false,
})

describe('ranges', () => {
  test('of a large segment cover everybody once, in about equal parts', async () => {
    await createUsers(slice.database, 40_000)
    const { estimate, ranges } = await planBroadcast(slice.database, { everyone: true })
    expect(estimate).toBe(40_000)
    expect(ranges).toHaveLength(8)
    expect(ranges[0]?.cursor).toBe('')
    expect(ranges.at(-1)?.lastId).toBeNull()
    for (const [index, { cursor }] of ranges.entries()) if (index > 0) expect(cursor).toBe(ranges[index - 1]?.lastId)
    const { rows } = await sql<{ count: number }>`
      select (select count(*)::int from users where id > r.cursor and (r."lastId" is null or id <= r."lastId")) as count
      from json_to_recordset(${JSON.stringify(ranges)}::json) as r (cursor text, "lastId" text)`.execute(
      slice.database.kysely,
    )
    for (const { count } of rows) expect(Math.abs(count - 5_000)).toBeLessThan(1_000)
  })

  test('a small segment of a large directory is one', async () => {
    await createUsers(slice.database, 20_000)
    const segment = { attribute: { path: 'n', op: 'LTE' as const, values: [50] } }
    expect(await planBroadcast(slice.database, segment)).toEqual({
      estimate: 50,
      ranges: [{ cursor: '', lastId: null }],
    })
  })
})

describe('leases', () => {
  test('a range is with one worker, until it gives it back or says nothing for too long', async () => {
    await createUsers(slice.database, 10)
    const { id } = await create()
    const claim = await claimed()
    expect(claim).toMatchObject({ broadcastId: id, nr: 1, cursor: '', lastId: null, attempts: 0, isExpired: false })
    expect(await claimRange(slice.database)).toBeUndefined()
    await releaseRange(slice.database, claim, 0, false)
    const second = await claimed()
    expect(await renewLease(slice.database, claim)).toBe(false)
    expect(await renewLease(slice.database, second)).toBe(true)
    await passTime(leaseMs - 1_000)
    expect(await claimRange(slice.database)).toBeUndefined()
    await passTime(1_000)
    const third = await claimed()
    expect(third.lease).not.toBe(second.lease)
    expect(await renewLease(slice.database, second)).toBe(false)
  })

  test('who wakes up without its lease appends nothing, nor does who has the cursor wrong', async () => {
    await createUsers(slice.database, 10)
    await create()
    const appendBatch = createAppendBatch(slice.database, 0)
    const frozen = await claimed()
    await passTime(leaseMs)
    const awake = await claimed()
    expect(await appendBatch(frozen, stretchOf([1, 2]))).toBeUndefined()
    expect((await appendBatch(awake, stretchOf([1, 2])))?.received).toHaveLength(2)
    expect(await appendBatch(awake, stretchOf([1, 2]))).toBeUndefined()
    expect(await appendBatch(awake, stretchOf([2, 3], userName(1)))).toBeUndefined()
    expect((await appendBatch(awake, stretchOf([3, 4], userName(2))))?.received).toHaveLength(2)
    expect(await logs(slice.database)).toMatchObject({ users: 4, rows: 4, most: 1 })
  })

  test('a worker renews its lease for as long as its batch takes', async () => {
    await createUsers(slice.database, 10)
    await create()
    let end = () => {}
    const slow: Renderer = {
      ...renderer,
      async render(request) {
        await new Promise<void>((resolve) => {
          end = resolve
        })
        return renderer.render(request)
      },
    }
    const claim = await claimed()
    const working = workWith({ renderer: slow })(claim, going)
    const before = await leasedUntil()
    await vi.waitFor(async () => expect(await leasedUntil()).toBeGreaterThan(before), { timeout: 5_000 })
    end()
    await working
    expect(await logs(slice.database)).toMatchObject({ rows: 10, most: 1 })
  })

  test('a worker that is told to stop gives its range back between two statements', async () => {
    await createUsers(slice.database, 1_000)
    const { id } = await create()
    let statements = 0
    const inner = createAppendBatch(slice.database, 0)
    const work = workWith({
      appendBatch: (claim, stretch) => {
        statements += 1
        return inner(claim, stretch)
      },
    })
    await work(await claimed(), () => statements === 2)
    expect(await findBroadcast(slice.database, id)).toMatchObject({
      status: 'RUNNING',
      sent: 2 * stretchUsersMax,
      total: 1_000,
    })
    expect(await claimed()).toMatchObject({ cursor: userName(2 * stretchUsersMax), attempts: 0 })
  })
})

describe('order', () => {
  test('the most urgent first, and of those the oldest', async () => {
    await createUsers(slice.database, 10)
    const ids: string[] = []
    for (const priority of ['LOW', 'CRITICAL', 'NORMAL', 'CRITICAL', 'HIGH'] as const) {
      ids.push((await create({ priority })).id)
    }
    const order: string[] = []
    for (const _ of ids) order.push((await claimed()).broadcastId)
    expect(order).toEqual([1, 3, 4, 2, 0].map((index) => ids[index]))
  })

  test('an urgent broadcast overtakes one that is under way', async () => {
    await createUsers(slice.database, 3_000)
    const { database, logger } = slice
    const low = await create({ priority: 'LOW' })
    const ended: string[] = []
    let critical: string | undefined
    const work = workWith({ batchUsers: 100 })
    const engine = startBroadcastEngine({
      database,
      logger,
      concurrency: 1,
      async work(claim, isStopping) {
        await work(claim, isStopping)
        ended.push(claim.broadcastId)
        if (ended.length === 3) {
          const segment = { userIds: [userName(7)] }
          critical = (await create({ priority: 'CRITICAL', segment })).id
        }
      },
    })
    engine.wake()
    await vi.waitFor(async () => expect((await findBroadcast(database, low.id))?.status).toBe('COMPLETED'), 10_000)
    await engine.stop()
    expect(ended.indexOf(critical ?? '')).toBe(3)
    expect(ended.length).toBeGreaterThan(30)
  })

  test('as many batches side by side as are allowed', async () => {
    await createUsers(slice.database, 30_000)
    const { database, logger } = slice
    const { id } = await create()
    const work = workWith({ batchUsers: 1_000 })
    let running = 0
    let most = 0
    const engine = startBroadcastEngine({
      database,
      logger,
      concurrency: 3,
      async work(claim, isStopping) {
        most = Math.max(most, ++running)
        await work(claim, isStopping)
        running -= 1
      },
    })
    engine.wake()
    await vi.waitFor(async () => expect((await findBroadcast(database, id))?.status).toBe('COMPLETED'), 20_000)
    await engine.stop()
    expect(most).toBe(3)
    expect(await logs(database)).toEqual({ users: 30_000, rows: 30_000, most: 1, gaps: 0 })
  })
})

describe('failures', () => {
  test('a batch that fails is tried again where it stopped, and in the end the broadcast fails with it', async () => {
    await createUsers(slice.database, 1_000)
    const { id } = await create()
    const inner = createAppendBatch(slice.database, 0)
    const lines: string[] = []
    const logger = pino({ level: 'error' }, { write: (line: string) => void lines.push(line) })
    const broken = workWith({
      logger,
      appendBatch: (claim, stretch) =>
        stretch.cursor === '' ? inner(claim, stretch) : Promise.reject(new Error('boom')),
    })
    await broken(await claimed(), going)
    for (let attempt = 1; attempt < attemptsMax; attempt++) {
      expect(await claimRange(slice.database)).toBeUndefined()
      await passTime(60_000)
      const claim = await claimed()
      expect(claim).toMatchObject({ attempts: attempt, cursor: userName(stretchUsersMax) })
      await broken(claim, going)
    }
    const failed = await findBroadcast(slice.database, id)
    expect(failed).toMatchObject({ status: 'FAILED', sent: stretchUsersMax, total: stretchUsersMax })
    expect(failed?.error).toContain('see the log')
    expect(lines.filter((line) => line.includes('boom'))).toHaveLength(attemptsMax)
    await passTime(60_000)
    expect(await claimRange(slice.database)).toBeUndefined()
  })

  test('who has lost its lease does not fail the broadcast of who has it now', async () => {
    await createUsers(slice.database, 10)
    const { id } = await create()
    await slice.database.query('attempts', `update broadcast_ranges set attempts = ${attemptsMax - 1}`, [])
    const frozen = await claimed()
    const broken = workWith({
      async appendBatch() {
        await passTime(60_000)
        await claimed()
        throw new Error('boom')
      },
    })
    await broken(frozen, going)
    expect((await findBroadcast(slice.database, id))?.status).toBe('RUNNING')
  })

  test('one that expires while a batch is under way sends nothing more, and fails', async () => {
    await createUsers(slice.database, 1_000)
    const { id } = await create({ expiresAt: Date.now() + 60_000 })
    const inner = createAppendBatch(slice.database, 0)
    const work = workWith({
      async appendBatch(claim, stretch) {
        const appended = await inner(claim, stretch)
        await slice.database.query('expire', 'update broadcasts set expires_at = clock_timestamp()', [])
        return appended
      },
    })
    await work(await claimed(), going)
    expect(await findBroadcast(slice.database, id)).toMatchObject({ status: 'RUNNING', sent: stretchUsersMax })
    await work(await claimed(), going)
    expect(await findBroadcast(slice.database, id)).toMatchObject({ status: 'FAILED', sent: stretchUsersMax })
  })

  test('users whom it takes too long to find are looked for a stretch of the directory at a time', async () => {
    await createUsers(slice.database, 1_000)
    const segment = { attribute: { path: 'n', op: 'GT' as const, values: [300] } }
    const { id } = await create({ segment })
    let statements = 0
    const { kysely } = slice.database
    // As if the whole directory took longer than the time for it.
    await sql`create function slow(attributes jsonb) returns jsonb language plpgsql as $$ begin
      if current_setting('statement_timeout') = '2s' then perform pg_sleep(3); end if; return attributes; end $$`.execute(
      kysely,
    )
    await sql`alter table users rename to people`.execute(kysely)
    await sql`create view users as select id, name, locale, time_zone, slow(attributes) as attributes, created_at, updated_at
      from people`.execute(kysely)
    const inner = createAppendBatch(slice.database, 0)
    const work = workWith({
      appendBatch(claim, stretch) {
        statements += 1
        return inner(claim, stretch)
      },
    })
    await work(await claimed(), going)
    expect(await findBroadcast(slice.database, id)).toMatchObject({ status: 'COMPLETED', sent: 700, total: 700 })
    expect(statements).toBe(Math.ceil(700 / stretchUsersMax))
  })

  test('what passes by itself is tried again however often', async () => {
    await createUsers(slice.database, 10)
    const { id } = await create()
    const away = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
    const work = workWith({ appendBatch: () => Promise.reject(away) })
    for (let attempt = 0; attempt < 2 * attemptsMax; attempt++) {
      await work(await claimed(), going)
      await passTime(60_000)
    }
    await workWith()(await claimed(), going)
    expect(await findBroadcast(slice.database, id)).toMatchObject({ status: 'COMPLETED', sent: 10 })
  })

  test('who dies after the last statement is completed by another', async () => {
    await createUsers(slice.database, 2)
    const { id } = await create()
    const claim = await claimed()
    await createAppendBatch(slice.database, 0)(claim, { ...stretchOf([1, 2]), isLast: true })
    expect((await findBroadcast(slice.database, id))?.status).toBe('RUNNING')
    expect(await claimRange(slice.database)).toBeUndefined()
    await completeBroadcasts(slice.database, null)
    expect(await findBroadcast(slice.database, id)).toMatchObject({ status: 'COMPLETED', sent: 2 })
  })

  test('nothing is appended once it has been stopped', async () => {
    await createUsers(slice.database, 10)
    const { id } = await create()
    const claim = await claimed()
    await stopBroadcast(slice.database, id, 'CANCELLED', null)
    expect(await createAppendBatch(slice.database, 0)(claim, stretchOf([1, 2]))).toBeUndefined()
    await completeBroadcasts(slice.database, id)
    expect(await findBroadcast(slice.database, id)).toMatchObject({ status: 'CANCELLED', sent: 0, total: 0 })
  })
})

test('those that ended longer ago than notifications are kept are forgotten, no others', async () => {
  const dayMs = 24 * 3600 * 1000
  const ids: string[] = []
  for (let i = 0; i < 3; i++) ids.push((await create()).id)
  const end =
    "update broadcasts set status = 'CANCELLED', finished_at = now() - $2::int * interval '1 day' where id = $1::uuid"
  await slice.database.query('end-one', end, [ids[0], 31])
  await slice.database.query('end-one', end, [ids[1], 29])
  await forgetBroadcasts(slice.database, 30 * dayMs)
  const found = await Promise.all(ids.map((id) => findBroadcast(slice.database, id)))
  expect(found.map((one) => one?.id)).toEqual([undefined, ids[1], ids[2]])
})

test('rings for whoever it sends to', async () => {
  await createUsers(slice.database, 3)
  await create()
  const rung = doorbells(slice.bus, userName(2))
  await workWith()(await claimed(), going)
  await vi.waitFor(() => expect(rung).toHaveLength(1))
  expect(rung[0]).toMatchObject({
    inbox: { userId: userName(2), seq: 1, undelivered: 1 },
    news: { kind: 'received', notifications: [{ title: 'Hello', seq: 1, category: 'general' }] },
  })
})

test('the queue: users still to come by priority, and the age of the oldest', async () => {
  await createUsers(slice.database, 100)
  await create({ priority: 'LOW' })
  await create({ priority: 'HIGH', segment: { userIds: [userName(1)] } })
  await slice.database.query(
    'older',
    "update broadcasts set created_at = now() - interval '1 minute' where priority = 0",
    [],
  )
  const queue = await readQueue(slice.database)
  expect(queue.map(({ priority, depth }) => [priority, depth])).toEqual([
    ['LOW', 100],
    ['NORMAL', 0],
    ['HIGH', 1],
    ['CRITICAL', 0],
  ])
  expect(Math.round(queue[0]?.oldestSeconds ?? 0)).toBe(60)
  expect(queue[1]?.oldestSeconds).toBe(0)
  for (const _ of queue.slice(2)) await workWith()(await claimed(), going)
  expect((await readQueue(slice.database)).map(({ depth }) => depth)).toEqual([0, 0, 0, 0])
})

/** All leases are so much older. */
async function passTime(ms: number) {
  await sql`update broadcast_ranges set leased_until = leased_until - ${ms} * interval '1 millisecond'`.execute(
    slice.database.kysely,
  )
}

async function leasedUntil(): Promise<number> {
  const { rows } = await sql<{ at: number }>`
    select extract(epoch from max(leased_until))::float8 as at from broadcast_ranges`.execute(slice.database.kysely)
  return rows[0]?.at ?? 0
}
