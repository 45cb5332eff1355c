// How much of a log one read brings into memory, and that reading many logs at once is as reading each alone.
import fc from 'fast-check'
import { sql } from 'kysely'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import {
  type LogPage,
  logsPerReadMax,
  pageBytesMax,
  pageRowsMax,
  type ReadRequest,
  rowsMaxOf,
  watermarkLagMax,
} from '../../src/notifications/log.ts'
import type { Position } from '../../src/notifications/notification.ts'
import { dayMs, fill, makeExpired, makeOlder, readPage } from '../support/log.ts'
import { createSlice, retentionMs, type Slice, takeSeqs } from '../support/slice.ts'

let slice: Slice
beforeEach(async () => {
  slice = await createSlice()
})
afterEach(() => slice[Symbol.asyncDispose]())

const userId = 'alice'
const heavy = { body: '€'.repeat(4_000), data: { text: 'x'.repeat(16_000) } }
/** Its texts in UTF-8. */
const heavyBytes = 28_000
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

async function pages(): Promise<LogPage[]> {
  const found: LogPage[] = []
  for (let after: Position = { seq: 0, createdAt: 0 }; ; ) {
    const page = await readPage(slice.log, userId, { after, undeliveredUpTo: 0, checkNext: false })
    found.push(page)
    if (page.isComplete) return found
    after = page.upTo
  }
}

const seqsOf = (page: LogPage | undefined) => page?.notifications.map(({ seq }) => seq)

test('a page of heavy rows is short, and the next one goes on behind it', async () => {
  await fill(slice, userId, 100, heavy)
  const found = await pages()
  expect(found.flatMap(({ notifications }) => notifications.map(({ seq }) => seq))).toEqual(range(1, 100))
  for (const { notifications, upTo, isComplete } of found.slice(0, -1)) {
    const bytes = notifications.reduce(
      (sum, { body, data }) => sum + Buffer.byteLength(body ?? '') + Buffer.byteLength(data ?? ''),
      0,
    )
    expect(bytes).toBeGreaterThan(pageBytesMax - 2 * heavyBytes)
    expect(bytes).toBeLessThan(pageBytesMax + heavyBytes)
    expect(isComplete).toBe(false)
    expect(upTo.seq).toBe(notifications.at(-1)?.seq)
  }
  expect(
    await takeSeqs(await slice.subscribe(userId, { kind: 'notifications', after: null, resumeAfter: null }), 100),
  ).toEqual(range(1, 100))
})

test('a page of small rows has as many as it may', async () => {
  await fill(slice, userId, pageRowsMax + 1)
  const [first, second] = await pages()
  expect(seqsOf(first)).toEqual(range(1, pageRowsMax))
  expect(seqsOf(second)).toEqual([pageRowsMax + 1])
})

test('what ends below both bounds is complete, also behind rows that nobody sees', async () => {
  const sent = await fill(slice, userId, 9, heavy)
  await slice.retract(sent[8]?.id ?? '')
  const found = await pages()
  expect(found).toHaveLength(1)
  expect(found[0]).toMatchObject({ isComplete: true, upTo: { seq: 9 } })
  expect(seqsOf(found[0])).toEqual(range(1, 8))
})

test('a statement of many requests answers each as reading it alone does, in their order', {
  timeout: 120_000,
}, async () => {
  const logs = await manyLogs()
  const requests = fc.constantFrom(...logs.keys()).chain((userId): fc.Arbitrary<ReadRequest> => {
    const places = logs.get(userId) ?? []
    const last = places.at(-1) ?? nowhere
    return fc.record({
      userId: fc.constant(userId),
      after: fc.oneof(
        fc.constant(null),
        fc.constantFrom(nowhere, ...places),
        // A place of another log, and one behind its head.
        fc.constantFrom(...places, last).map(({ seq, createdAt }) => ({ seq, createdAt: createdAt + 1 })),
        fc.constant({ seq: last.seq + 1, createdAt: last.createdAt }),
      ),
      undeliveredUpTo: fc.oneof(fc.constant(null), fc.integer({ min: 0, max: last.seq + 1 })),
      checkNext: fc.boolean(),
    })
  })
  await fc.assert(
    fc.asyncProperty(fc.array(requests, { minLength: 2, maxLength: logsPerReadMax }), async (together) => {
      const pages = await slice.log.read(together)
      const alone: LogPage[] = []
      for (const { userId, ...options } of together) alone.push(await readPage(slice.log, userId, options))
      expect(pages).toEqual(alone.map((page) => cut(page, rowsMaxOf(together.length))))
      expect(pages.map(({ inbox }) => inbox.userId)).toEqual(together.map(({ userId }) => userId))
    }),
  )
})

/** What a page would be that may have so many rows. */
function cut(page: LogPage, rowsMax: number): LogPage {
  if (page.notifications.length < rowsMax) return page
  const notifications = page.notifications.slice(0, rowsMax)
  const { seq = 0, createdAt = 0 } = notifications.at(-1) ?? {}
  return { ...page, notifications, upTo: { seq, createdAt }, isComplete: false }
}

test('a read looks at rows of its own log alone, however many others there are', async () => {
  await fill(slice, 'another', 3_000)
  const [sent] = await fill(slice, userId, 1)
  const after = { seq: 1, createdAt: sent?.createdAt ?? 0 }
  const scans = async () => {
    const { rows } = await sql<{ read: number; searches: number }>`
      select sum(seq_tup_read)::int as read, sum(idx_scan)::int as searches
      from pg_stat_user_tables where relname like 'notifications%'`.execute(slice.database.kysely)
    return rows[0] ?? { read: 0, searches: 0 }
  }
  const before = await scans()
  // PostgreSQL counts what a connection did once a second at most.
  const counted = await vi.waitFor(
    async () => {
      await readPage(slice.log, userId, { after, undeliveredUpTo: 0, checkNext: true })
      const now = await scans()
      expect(now.searches).toBeGreaterThan(before.searches)
      return now
    },
    { timeout: 15_000, interval: 100 },
  )
  expect(counted.read - before.read).toBeLessThan(100)
})

test('a locked inbox keeps nobody from reading, and its watermark where it is', async () => {
  const users = ['locked', 'free']
  for (const user of users) {
    const ids = (await fill(slice, user, watermarkLagMax + 1)).map(({ id }) => id)
    while (ids.length > 0) await slice.acknowledge(user, 'delivered', { ids: ids.splice(0, 100) })
  }
  const watermarks = async () => {
    const rows = await slice.database.kysely.selectFrom('inboxes').select(['user_id', 'delivered_seq']).execute()
    return new Map(rows.map((row) => [row.user_id, row.delivered_seq]))
  }
  await slice.database.kysely.transaction().execute(async (tx) => {
    await sql`select from inboxes where user_id = 'locked' for update`.execute(tx)
    await slice.log.read(users.map((userId) => ({ userId, after: null, undeliveredUpTo: null, checkNext: false })))
    const found = await watermarks()
    // Had the statement waited, it would have failed for both.
    expect(found.get('locked')).toBe(0)
    expect(found.get('free')).toBe(watermarkLagMax + 1)
  })
})

test('a read of no logs answers with no pages', async () => {
  expect(await slice.log.read([])).toEqual([])
})

const nowhere: Position = { seq: 0, createdAt: 0 }

/** Users whose logs differ in all that a read looks at, and the places of their notifications. */
async function manyLogs(): Promise<Map<string, Position[]>> {
  const { database } = slice
  const logs = new Map<string, Position[]>()
  const sent = async (user: string, count: number, fields = {}) => {
    const notifications = await fill(slice, user, count, fields)
    logs.set(user, [])
    return notifications.map(({ id }) => id)
  }
  const deliver = (user: string, ids: string[]) => slice.acknowledge(user, 'delivered', { ids })

  logs.set('unheard of', [])
  await sent('plain', 5)
  await deliver('delivered', await sent('delivered', 5))
  await deliver(
    'partly',
    (await sent('partly', 9)).filter((_, index) => index % 3 === 0),
  )
  await sent('expired', 6)
  await makeExpired(database, 'expired', 4)
  await sent('expired as a whole', 3)
  await makeExpired(database, 'expired as a whole', 3)
  for (const id of (await sent('retracted', 6)).filter((_, index) => index % 2 === 1)) await slice.retract(id)
  await sent('over weeks', 12)
  for (const seq of [9, 6, 3]) await makeOlder(database, 'over weeks', seq, 8 * dayMs)
  await deliver('partly over weeks', (await sent('partly over weeks', 8)).slice(2, 6))
  await makeOlder(database, 'partly over weeks', 4, 16 * dayMs)
  await sent('past the retention time', 6)
  await makeOlder(database, 'past the retention time', 3, retentionMs + dayMs)
  await sent('long', 2 * pageRowsMax + 3)
  // More than the delivered watermark lags behind.
  await deliver('long and delivered', (await sent('long and delivered', 3 * pageRowsMax)).slice(0, 250))
  await sent('heavy', 15, heavy)
  await sent('\'quoted\' "twice" \\ {,} ü 👩‍🚀', 2)

  const rows = await database.kysely.selectFrom('notifications').select(['user_id', 'seq', 'created_at']).execute()
  for (const row of rows) logs.get(row.user_id)?.push({ seq: row.seq, createdAt: row.created_at.getTime() })
  for (const places of logs.values()) places.sort((one, other) => one.seq - other.seq)
  // A read without a place moves a watermark that lags behind, once, and with it where the next one begins.
  for (const userId of logs.keys()) {
    await readPage(slice.log, userId, { after: null, undeliveredUpTo: null, checkNext: false })
  }
  return logs
}
