import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { notificationCursor } from '../../src/notifications/cursor.ts'
import {
  createHistory,
  filterCategoriesMax,
  type History,
  type HistoryArguments,
  type HistoryFilter,
} from '../../src/notifications/history.ts'
import { type Notification, type Priority, priorities } from '../../src/notifications/notification.ts'
import { type Page, pageSizeDefault, pageSizeMax } from '../../src/page.ts'
import { dayMs, fill, makeExpired, makeOlder } from '../support/log.ts'
import { createSlice, retentionMs, type Slice } from '../support/slice.ts'

let slice: Slice
let history: History
beforeAll(async () => {
  slice = await createSlice()
  history = createHistory({ ...slice, retentionMs })
})
afterAll(() => slice[Symbol.asyncDispose]())

const newUser = () => `user-${randomUUID()}`
const cursorOf = (one: Notification | undefined) => (one ? notificationCursor(slice.cursors, one) : '')
const seqs = ({ nodes }: Page<Notification>) => nodes.map(({ seq }) => seq)
const refused = (code: string) => expect.objectContaining({ code })

describe('a page', () => {
  test('is the newest first, 20 where nothing is said, with a cursor for each', async () => {
    const userId = newUser()
    const sent = await fill(slice, userId, 25)
    const page = await history.page(userId, {})
    expect(page.nodes).toEqual(sent.slice(-pageSizeDefault).reverse())
    expect(page.edges).toEqual(page.nodes.map((node) => ({ node, cursor: cursorOf(node) })))
    expect(page.pageInfo).toEqual({
      hasNextPage: true,
      hasPreviousPage: false,
      startCursor: cursorOf(sent[24]),
      endCursor: cursorOf(sent[5]),
    })
  })

  test('of nothing is empty', async () => {
    expect(await history.page(newUser(), {})).toEqual({
      edges: [],
      nodes: [],
      pageInfo: { hasNextPage: false, hasPreviousPage: false, startCursor: null, endCursor: null },
    })
  })

  test("is of one user's log alone", async () => {
    const [userId, other] = [newUser(), newUser()]
    await fill(slice, userId, 1)
    await fill(slice, other, 3)
    expect(seqs(await history.page(userId, {}))).toEqual([1])
  })

  test('has nothing that was retracted, has expired, or is past the retention time', async () => {
    const userId = newUser()
    const sent = await fill(slice, userId, 5)
    await makeExpired(slice.database, userId, 2)
    await makeOlder(slice.database, userId, 1, retentionMs + 1_000)
    await slice.retract(sent[3]?.id ?? '')
    expect(seqs(await history.page(userId, {}))).toEqual([5, 3])
  })
})

describe('paging', () => {
  test('either way, in any step and over weeks, visits each once, and says where it ends', async () => {
    const userId = newUser()
    const count = 12
    await fill(slice, userId, count)
    for (const [seq, days] of [
      [9, 6],
      [6, 8],
      [3, 9],
    ] as const)
      await makeOlder(slice.database, userId, seq, days * dayMs)
    const newestFirst = Array.from({ length: count }, (_, i) => count - i)
    for (const size of [1, 3, 4, 5, 12, 100]) {
      const older: number[][] = []
      let page = await history.page(userId, { first: size })
      while (older.push(seqs(page)) && page.pageInfo.hasNextPage) {
        page = await history.page(userId, { first: size, after: page.pageInfo.endCursor })
        expect(page.pageInfo.hasPreviousPage).toBe(true)
      }
      expect(older.flat()).toEqual(newestFirst)
      expect(older.length).toBe(Math.ceil(count / size))

      const newer: number[][] = []
      page = await history.page(userId, { last: size })
      while (newer.unshift(seqs(page)) && page.pageInfo.hasPreviousPage) {
        page = await history.page(userId, { last: size, before: page.pageInfo.startCursor })
        expect(page.pageInfo.hasNextPage).toBe(true)
      }
      expect(newer.flat()).toEqual(newestFirst)
      expect(newer.length).toBe(Math.ceil(count / size))
    }
  })

  test('what arrives meanwhile shifts nothing', async () => {
    const userId = newUser()
    await fill(slice, userId, 4)
    const { pageInfo } = await history.page(userId, { first: 2 })
    await fill(slice, userId, 3)
    expect(seqs(await history.page(userId, { first: 2, after: pageInfo.endCursor }))).toEqual([2, 1])
    expect(seqs(await history.page(userId, { last: 2, before: pageInfo.startCursor }))).toEqual([6, 5])
  })

  test('stays within both cursors where both are given', async () => {
    const userId = newUser()
    const sent = await fill(slice, userId, 6)
    const range = { after: cursorOf(sent[5]), before: cursorOf(sent[0]) }
    expect(seqs(await history.page(userId, { first: 3, ...range }))).toEqual([5, 4, 3])
    expect(seqs(await history.page(userId, { last: 3, ...range }))).toEqual([4, 3, 2])
    expect((await history.page(userId, { first: 10, ...range })).pageInfo).toMatchObject({
      hasNextPage: true,
      hasPreviousPage: true,
    })
    expect(seqs(await history.page(userId, { after: cursorOf(sent[0]), before: cursorOf(sent[5]) }))).toEqual([])
  })

  test('from a cursor past the retention time is an empty page', async () => {
    const userId = newUser()
    const sent = await fill(slice, userId, 3)
    await makeOlder(slice.database, userId, 2, retentionMs + 1_000)
    const older = { ...sent[1], createdAt: (sent[1]?.createdAt ?? 0) - retentionMs - 1_000 }
    const after = slice.cursors.encode(userId, older.epoch ?? '', { seq: 2, createdAt: older.createdAt })
    const page = await history.page(userId, { after })
    expect(page.nodes).toEqual([])
    expect(page.pageInfo).toEqual({ hasNextPage: false, hasPreviousPage: true, startCursor: null, endCursor: null })
  })
})

describe('refuses', () => {
  const wrong: HistoryArguments[] = [
    { first: 0 },
    { first: -1 },
    { first: pageSizeMax + 1 },
    { last: 0 },
    { last: pageSizeMax + 1 },
    { first: 1, last: 1 },
    { filter: { categories: new Array(filterCategoriesMax + 1).fill('a') } },
  ]
  test.each(wrong)('%j', async (args) => {
    await expect(history.page('alice', args)).rejects.toThrow(refused('BAD_USER_INPUT'))
  })

  test("what is no cursor, somebody else's cursor, and one of another epoch", async () => {
    const userId = newUser()
    const sent = await fill(slice, userId, 1)
    const foreign = slice.cursors.encode(userId, '0123456789abcdef', { seq: 1, createdAt: sent[0]?.createdAt ?? 0 })
    const others = slice.cursors.encode('bob', sent[0]?.epoch ?? '', { seq: 1, createdAt: 1 })
    for (const cursor of ['nothing', others, foreign]) {
      await expect(history.page(userId, { after: cursor })).rejects.toThrow(refused('CURSOR_INVALID'))
      await expect(history.page(userId, { before: cursor })).rejects.toThrow(refused('CURSOR_INVALID'))
    }
  })
})

describe('filter', () => {
  const userId = newUser()
  let all: Notification[]
  beforeAll(async () => {
    const states = ['delivered', 'seen', 'read', 'archived'] as const
    for (let i = 0; i < 40; i++) {
      const [one] = await fill(slice, userId, 1, { category: `c${i % 3}`, priority: priorities[i % 4] ?? 'LOW' })
      const state = states[i % 5]
      if (state) await slice.acknowledge(userId, state, { ids: [one?.id ?? ''] })
    }
    all = (await history.page(userId, { first: 100, filter: { archived: null } })).nodes
    expect(all.length).toBe(40)
  })

  test('by any of its fields together is what filtering the whole would be, page by page', async () => {
    const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null })
    const category = fc.constantFrom('c0', 'c1', 'c2', 'unknown', '\0')
    const instants = fc.nat(41).map((i) => (all[i]?.createdAt ?? 0) + (i % 2))
    const filters = fc.record<HistoryFilter>(
      {
        categories: maybe(fc.array(category, { maxLength: 3 })),
        priorities: maybe(fc.array(fc.constantFrom<Priority[]>(...priorities), { maxLength: 3 })),
        delivered: maybe(fc.boolean()),
        seen: maybe(fc.boolean()),
        read: maybe(fc.boolean()),
        archived: maybe(fc.boolean()),
        createdAfter: maybe(instants),
        createdBefore: maybe(instants),
      },
      { requiredKeys: [] },
    )
    const fits = (filter: HistoryFilter) => (one: Notification) => {
      const { categories, archived = false, createdAfter, createdBefore } = filter
      const is = (wanted: boolean | null | undefined, at: number | null) => wanted == null || wanted === (at !== null)
      return (
        (!categories || categories.includes(one.category)) &&
        (!filter.priorities || filter.priorities.includes(one.priority)) &&
        is(filter.delivered, one.deliveredAt) &&
        is(filter.seen, one.seenAt) &&
        is(filter.read, one.readAt) &&
        is(archived, one.archivedAt) &&
        (createdAfter == null || one.createdAt >= createdAfter) &&
        (createdBefore == null || one.createdAt < createdBefore)
      )
    }
    await fc.assert(
      fc.asyncProperty(filters, fc.integer({ min: 1, max: 15 }), async (filter, size) => {
        const expected = all.filter(fits(filter))
        const page = await history.page(userId, { first: size, filter })
        expect(page.nodes).toEqual(expected.slice(0, size))
        expect(page.pageInfo.hasNextPage).toBe(expected.length > size)
        const { endCursor } = page.pageInfo
        if (endCursor)
          expect(seqs(await history.page(userId, { first: size, after: endCursor, filter }))).toEqual(
            expected.slice(size, 2 * size).map(({ seq }) => seq),
          )
        const end = await history.page(userId, { last: size, filter })
        expect(end.nodes).toEqual(expected.slice(-size))
      }),
      { numRuns: 150 },
    )
  }, 60_000)

  test('leaves archived ones out where nothing is said', async () => {
    const archived = all.filter(({ archivedAt }) => archivedAt !== null).length
    expect(archived).toBe(8)
    for (const filter of [undefined, null, {}, { archived: undefined }, { archived: false }]) {
      expect((await history.page(userId, { first: 100, filter })).nodes.length).toBe(40 - archived)
    }
  })
})

describe('one by its id', () => {
  test('is found by its user, or by anybody where no user is named', async () => {
    const userId = newUser()
    const [one] = await fill(slice, userId, 1)
    const id = one?.id ?? ''
    expect(await history.find(userId, id)).toEqual(one)
    expect(await history.find(null, id.toUpperCase())).toEqual(one)
    expect(await history.find(newUser(), id)).toBeNull()
    expect(await history.find(null, randomUUID())).toBeNull()
    expect(await history.find(null, 'inbox:alice')).toBeNull()
  })

  test('is gone once it was retracted, expired, or is past the retention time', async () => {
    const userId = newUser()
    const sent = await fill(slice, userId, 3)
    await makeExpired(slice.database, userId, 2)
    await makeOlder(slice.database, userId, 1, retentionMs + 1_000)
    await slice.retract(sent[2]?.id ?? '')
    for (const { id } of sent) expect(await history.find(userId, id)).toBeNull()
  })
})
