import { setTimeout as sleep } from 'node:timers/promises'
import { Client, DatabaseError } from 'pg'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type Append, type AppendItem, createAppend } from '../../src/notifications/append.ts'
import {
  blockedRetryMs,
  createGroupCommit,
  groupItemsMax,
  lateCheckMs,
  queuedMsMax,
  waitingCharactersMax,
} from '../../src/notifications/group-commit.ts'
import { createTestDatabase } from '../support/database.ts'
import { inbox, notification } from '../support/test-source.ts'

test('a send that something other than its inbox blocks is UNAVAILABLE in time', { timeout: 30_000 }, async () => {
  await using t = await createTestDatabase()
  const { commit } = createGroupCommit({ append: createAppend(t.database), onCommit: () => Promise.resolve() })
  const holder = new Client({ connectionString: t.url })
  await holder.connect()
  await holder.query('begin; lock table notifications in access exclusive mode')
  const start = performance.now()
  const sent = outcomeOf(commit(itemTo('u'))).then((outcome) => ({ outcome, ms: performance.now() - start }))
  const release = setTimeout(() => void holder.query('rollback'), 12_000)
  const { outcome, ms } = await sent
  clearTimeout(release)
  await holder.query('rollback')
  await holder.end()
  expect(outcome).toMatch(/lock/)
  expect(ms).toBeLessThan(queuedMsMax + 2_000)
})

describe('a database that does not answer', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  test('leaves a send waiting for a statement no longer than its time, and commits what it refused never', async () => {
    const { commit, statements, answer, appended } = setUp()
    const underWay = [commit(itemTo('a')), commit(itemTo('b'))].map(outcomeOf)
    const sent = Array.from({ length: 3 * groupItemsMax }, (_, index) => outcomeOf(commit(itemTo(`user-${index}`))))
    const behind = outcomeOf(commit(itemTo('a')))
    await vi.advanceTimersByTimeAsync(queuedMsMax - 1)
    const settled = watch([...sent, behind])
    await drain()
    expect(settled.size).toBe(0)
    await vi.advanceTimersByTimeAsync(lateCheckMs + 1)
    expect(settled).toEqual(new Set(['the database is not keeping up; try again later']))
    expect(statements).toHaveLength(2)
    // It answers late: what it was given was committed.
    await answer()
    expect(await Promise.all(underWay)).toEqual(['committed', 'committed'])
    expect(appended).toEqual(['a', 'b'])
    const next = outcomeOf(commit(itemTo('a')))
    await answer()
    expect(await next).toBe('committed')
    expect(appended).toEqual(['a', 'b', 'a'])
  })

  test('keeps the order of a user whose earlier send was refused', async () => {
    const { commit, answer, appended } = setUp()
    const first = outcomeOf(commit(itemTo('a', '1')))
    const second = outcomeOf(commit(itemTo('a', '2')))
    await vi.advanceTimersByTimeAsync(queuedMsMax - 500)
    const others = ['3', '4'].map((title) => outcomeOf(commit(itemTo('a', title))))
    await vi.advanceTimersByTimeAsync(1_000)
    expect(await second).toMatch('not keeping up')
    await answer()
    await answer()
    expect(await Promise.all([first, ...others])).toEqual(['committed', 'committed', 'committed'])
    expect(appended).toEqual(['a1', 'a3', 'a4'])
  })

  test('tries the rest of a group no more whose first statement took too long to fail', async () => {
    const { commit, statements, answer, fill } = setUp()
    await fill()
    const sent = ['a', 'b'].map((user) => outcomeOf(commit(itemTo(user))))
    await answer()
    expect(statements.at(-1)).toHaveLength(2)
    await vi.advanceTimersByTimeAsync(queuedMsMax + 1)
    await answer(new Error('one of them does not fit'))
    expect(await Promise.all(sent)).toEqual(Array(2).fill('the database is not keeping up; try again later'))
    expect(statements).toHaveLength(3)
  })

  test('costs one timer while anything waits, and none while nothing does', async () => {
    const { commit, answer, fill } = setUp()
    await fill()
    expect(vi.getTimerCount()).toBe(0)
    const sent = Array.from({ length: 1_000 }, () => outcomeOf(commit(itemTo('a'))))
    expect(vi.getTimerCount()).toBe(1)
    for (let round = 0; round < 6; round++) await answer()
    expect(new Set(await Promise.all(sent))).toEqual(new Set(['committed']))
    await vi.advanceTimersByTimeAsync(lateCheckMs)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('is given up on by those behind a locked inbox too, be it asked about or not', async () => {
    const { commit, answer } = setUp({ findUnlocked: () => new Promise(() => {}) })
    const first = outcomeOf(commit(itemTo('a')))
    await answer(lockTimeout())
    const second = outcomeOf(commit(itemTo('a')))
    await vi.advanceTimersByTimeAsync(queuedMsMax + lateCheckMs + 1)
    expect(await Promise.all([first, second])).toEqual(Array(2).fill("the user's inbox is locked; try again later"))
    const third = outcomeOf(commit(itemTo('a')))
    await answer()
    expect(await third).toBe('committed')
  })

  test('keeps so many characters waiting, and refuses more at once until there is room again', async () => {
    const { commit, answer, fill } = setUp()
    await fill()
    const body = 'x'.repeat(waitingCharactersMax / 8 - 100)
    const large = Array.from({ length: 8 }, (_, index) => outcomeOf(commit({ ...itemTo(`user-${index}`), body })))
    expect(await outcomeOf(commit({ ...itemTo('one-more'), body }))).toMatch('too many sends are waiting')
    const small = outcomeOf(commit(itemTo('small')))
    for (let round = 0; round < 6; round++) await answer()
    expect(new Set(await Promise.all([...large, small]))).toEqual(new Set(['committed']))
    const again = outcomeOf(commit({ ...itemTo('one-more'), body }))
    await answer()
    expect(await again).toBe('committed')
  })
})

test('a send stays behind an earlier one of its user whose half of a group found the inbox locked', async () => {
  let unlock = (_users: string[]) => {}
  const unlocked = new Promise<string[]>((resolve) => {
    unlock = resolve
  })
  const { commit, statements, answer, appended, fill } = setUp({ findUnlocked: () => unlocked })
  await fill()
  const sent = ['a1', 'x1', 'a2', 'y1'].map(([user = '', title]) => outcomeOf(commit(itemTo(user, title))))
  await answer()
  sent.push(outcomeOf(commit(itemTo('a', '3'))))
  expect(statements.at(-1)).toHaveLength(4)
  await answer(new Error('one of them does not fit'))
  await answer(lockTimeout())
  await answer()
  expect(appended.slice(2)).toEqual(['y1'])
  unlock(['a', 'x'])
  await vi.waitFor(async () => {
    await answer()
    expect(appended).toHaveLength(7)
  })
  expect(appended.filter((one) => one.startsWith('a'))).toEqual(['a1', 'a2', 'a3'])
  expect(await Promise.all(sent)).toEqual(Array(5).fill('committed'))
})

test('an inbox that is found locked once more, long after it was free, is watched once more', async () => {
  const { commit, statements, answer } = setUp()
  for (let round = 1; round <= 2; round++) {
    const sent = outcomeOf(commit(itemTo('a')))
    await answer(lockTimeout())
    await vi.waitFor(() => expect(statements).toHaveLength(2 * round))
    await answer()
    expect(await sent).toBe('committed')
    // Nothing is blocked, so that the watch ends.
    await sleep(2 * blockedRetryMs)
  }
})

/** A group commit whose statements are answered when the test says so. */
function setUp(overrides: Partial<Append> = {}) {
  const statements: (readonly AppendItem[])[] = []
  /** User and title of each. */
  const appended: string[] = []
  const open: ((error?: Error) => void)[] = []
  const append: Append = {
    append(items) {
      statements.push(items)
      return new Promise((resolve, reject) => {
        open.push((error) => {
          if (error) return reject(error)
          appended.push(...items.map(({ userId, title }) => userId + title))
          resolve(
            items.map(({ userId }) => ({
              notification: notification(1, { userId }),
              inbox: { ...inbox, createdAtBefore: null },
            })),
          )
        })
      })
    },
    findFirst: () => Promise.resolve([]),
    findUnlocked: (users) => Promise.resolve(users),
    ...overrides,
  }
  const { commit } = createGroupCommit({ append, onCommit: () => Promise.resolve() })
  /** All statements that are under way now. */
  async function answer(error?: Error): Promise<void> {
    for (const settle of open.splice(0)) settle(error)
    await drain()
  }
  /** Gives all that may be under way something to do, so that what comes next waits and goes together. */
  async function fill(): Promise<void> {
    void commit(itemTo('busy-'))
    void commit(itemTo('busier-'))
    await drain()
  }
  return { commit, statements, appended, answer, fill }
}

function itemTo(userId: string, title = ''): AppendItem {
  return {
    id: '00000000-0000-7000-8000-000000000001',
    userId,
    category: 'c',
    title,
    body: null,
    data: null,
    url: null,
    priority: 'NORMAL',
    expiresAt: null,
    idempotency: null,
  }
}

const lockTimeout = () => Object.assign(new DatabaseError('lock timeout', 0, 'error'), { code: '55P03' })

function outcomeOf(committed: Promise<unknown>): Promise<string> {
  return committed.then(
    () => 'committed',
    (error: Error) => error.message,
  )
}

function watch(outcomes: Promise<string>[]): Set<string> {
  const seen = new Set<string>()
  for (const outcome of outcomes) void outcome.then((text) => seen.add(text))
  return seen
}

/** Until all that follows at once has happened. */
const drain = () => new Promise<void>((resolve) => setImmediate(resolve))
