// Who waits for a statement, who shares one, and who is sent away: over a log that answers when it is told to.
import { afterEach, expect, test, vi } from 'vitest'
import { type LogPage, logsPerReadMax, type ReadOptions, type ReadRequest } from '../../src/notifications/log.ts'
import {
  burstMax,
  createLogReads,
  gatherMs,
  readsInFlightMax,
  silentReadMs,
  waitMsMax,
} from '../../src/notifications/log-reads.ts'

afterEach(() => void vi.useRealTimers())

interface Statement {
  requests: readonly ReadRequest[]
  users: string[]
  succeed(): Promise<void>
  fail(error: unknown): Promise<void>
}

const options: ReadOptions = { after: null, undeliveredUpTo: null, checkNext: false }
const away = () => Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
const names = (count: number, prefix: string) => Array.from({ length: count }, (_, index) => `${prefix}${index}`)
/** All that follows from what has happened so far, what is gathered for a moment too. */
const settled = () => new Promise<void>((resolve) => setTimeout(resolve, 2 * gatherMs))

const pageOf = (userId: string): LogPage => ({
  inbox: { userId, epoch: 'e', seq: 0, createdAt: 0, stateVersion: 0, undelivered: 0, unseen: 0, unread: 0 },
  notifications: [],
  upTo: { seq: 0, createdAt: 0 },
  isComplete: true,
  isSameLog: true,
  isNextThere: true,
})

/** Reads logs, and writes down what is asked of the database and what becomes of each reader. */
function readers() {
  const statements: Statement[] = []
  /** Reads that have begun and statements that were made, in order. */
  const happened: string[] = []
  const outcomes = new Map<string, unknown>()
  const logReads = createLogReads({
    read(requests) {
      const users = requests.map(({ userId }) => userId)
      happened.push(`read ${users.join(' ')}`)
      return new Promise((resolve, reject) => {
        statements.push({
          requests,
          users,
          succeed() {
            resolve(users.map(pageOf))
            return settled()
          },
          fail(error) {
            reject(error)
            return settled()
          },
        })
      })
    },
  })

  /** Each of these wants to read. */
  function come(...userIds: string[]) {
    return userIds.map((userId) => {
      const reader = {
        userId,
        beginRead() {
          happened.push(`begin ${userId}`)
          return options
        },
      }
      logReads.read(reader).then(
        (page) => outcomes.set(userId, page?.inbox.userId),
        (error: unknown) => outcomes.set(userId, error),
      )
      return { cancel: () => logReads.cancel(reader) }
    })
  }

  return { logReads, statements, happened, outcomes, come, usersOfEach: () => statements.map(({ users }) => users) }
}

test('a lone read waits for nothing', async () => {
  const { come, usersOfEach, statements, outcomes } = readers()
  come('alice')
  expect(usersOfEach()).toEqual([['alice']])
  await statements[0]?.succeed()
  expect(outcomes.get('alice')).toBe('alice')
  come('bob')
  expect(usersOfEach()).toEqual([['alice'], ['bob']])
})

test('of a crowd whose reads are answered fast, those that come within a moment share a statement', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  const { come, usersOfEach, statements } = readers()
  const crowd = names(burstMax, 'user ')
  for (const userId of crowd) {
    come(userId)
    await vi.advanceTimersByTimeAsync(0)
    void statements.at(-1)?.succeed()
    await vi.advanceTimersByTimeAsync(0)
  }
  const alone = crowd.map((userId) => [userId])
  expect(usersOfEach()).toEqual(alone)
  come('bob')
  await vi.advanceTimersByTimeAsync(gatherMs - 1)
  come('carol')
  expect(usersOfEach()).toEqual(alone)
  await vi.advanceTimersByTimeAsync(1)
  expect(usersOfEach()).toEqual([...alone, ['bob', 'carol']])
})

test('those that come while one is under way share the next statement, and each is given the page of its own log', async () => {
  const { come, usersOfEach, statements, outcomes } = readers()
  come('first', 'alice', 'bob')
  await settled()
  come('carol')
  expect(usersOfEach()).toEqual([['first']])
  await statements[0]?.succeed()
  expect(usersOfEach()).toEqual([['first'], ['alice', 'bob', 'carol']])
  expect([...outcomes.keys()]).toEqual(['first'])
  await statements[1]?.succeed()
  expect([...outcomes]).toEqual(['first', 'alice', 'bob', 'carol'].map((userId) => [userId, userId]))
  expect(statements).toHaveLength(2)
})

test('further statements are made only for full groups, and so many at a time', async () => {
  const { come, usersOfEach, statements, outcomes } = readers()
  const all = names(1 + readsInFlightMax * logsPerReadMax + 1, 'user ')
  const [first = '', ...others] = all
  come(first)
  come(...others.slice(0, logsPerReadMax - 1))
  await settled()
  expect(usersOfEach()).toEqual([[first]])
  come(...others.slice(logsPerReadMax - 1, logsPerReadMax))
  expect(usersOfEach()).toEqual([[first], others.slice(0, logsPerReadMax)])
  come(...others.slice(logsPerReadMax))
  await settled()
  const sizes = () => statements.map(({ users }) => users.length)
  expect(sizes()).toEqual([1, ...Array(readsInFlightMax - 1).fill(logsPerReadMax)])

  // A place for one more, which the rest fills: whichever is over, and whoever came before is in it.
  await statements[1]?.succeed()
  expect(sizes()).toEqual([1, ...Array(readsInFlightMax).fill(logsPerReadMax)])
  // Another, but the last one would be alone in it.
  await statements[2]?.succeed()
  expect(statements).toHaveLength(readsInFlightMax + 1)
  for (const statement of statements) await statement.succeed()
  await statements.at(-1)?.succeed()
  expect(sizes().at(-1)).toBe(1)
  expect(usersOfEach().flat()).toEqual(all)
  expect([...outcomes].filter(([userId, outcome]) => userId === outcome)).toHaveLength(all.length)
})

test('come first, are served first, also where some have been served before', async () => {
  const { come, usersOfEach, statements } = readers()
  come('a', 'b', 'c')
  await statements[0]?.succeed()
  come('d', 'a')
  await statements[1]?.succeed()
  come('e', 'b')
  await statements[2]?.succeed()
  expect(usersOfEach()).toEqual([['a'], ['b', 'c'], ['d', 'a'], ['e', 'b']])
})

test('where each reads from is asked just before its statement, and told to it', async () => {
  const { logReads, come, happened, statements } = readers()
  come('alice')
  let seq = 1
  const moving = { userId: 'bob', beginRead: () => ({ ...options, after: { seq, createdAt: 1_000 + seq } }) }
  void logReads.read(moving)
  come('carol')
  expect(happened).toEqual(['begin alice', 'read alice'])
  seq = 7
  await statements[0]?.succeed()
  expect(happened.slice(2)).toEqual(['begin carol', 'read bob carol'])
  expect(statements[1]?.requests).toEqual([
    { userId: 'bob', after: { seq: 7, createdAt: 1_007 }, undeliveredUpTo: null, checkNext: false },
    { userId: 'carol', ...options },
  ])
})

test('one that is cancelled while it waits is never read, and told so at once; those behind it move up', async () => {
  const { come, happened, outcomes, statements } = readers()
  const [, alice] = come('first', 'alice', 'bob')
  alice?.cancel()
  alice?.cancel()
  await settled()
  expect([...outcomes]).toEqual([['alice', undefined]])
  await statements[0]?.succeed()
  expect(happened).toEqual(['begin first', 'read first', 'begin bob', 'read bob'])
})

test('where all that waited are cancelled no statement is made, and the next one waits for nothing', async () => {
  const { come, usersOfEach, statements } = readers()
  const [, alice, bob] = come('first', 'alice', 'bob')
  alice?.cancel()
  bob?.cancel()
  await statements[0]?.succeed()
  expect(usersOfEach()).toEqual([['first']])
  come('carol')
  expect(usersOfEach()).toEqual([['first'], ['carol']])
})

test('one that is cancelled while it is read keeps nothing from anybody', async () => {
  const { come, outcomes, statements } = readers()
  const [first] = come('first', 'alice')
  first?.cancel()
  await settled()
  expect(statements).toHaveLength(1)
  await statements[0]?.succeed()
  expect([...outcomes]).toEqual([['first', 'first']])
  await statements[1]?.succeed()
  expect(outcomes.get('alice')).toBe('alice')
})

test('a statement that fails fails each of its readers with that, and the next ones are read', async () => {
  const { come, outcomes, statements, usersOfEach } = readers()
  come('first', 'alice', 'bob')
  await statements[0]?.succeed()
  come('carol')
  const error = away()
  await statements[1]?.fail(error)
  expect(usersOfEach()).toEqual([['first'], ['alice', 'bob'], ['carol']])
  await statements[2]?.succeed()
  for (const userId of ['alice', 'bob']) expect(outcomes.get(userId)).toBe(error)
  expect(outcomes.get('carol')).toBe('carol')
})

test('where one log of many can not be read, the others are', async () => {
  const { come, outcomes, statements, usersOfEach } = readers()
  come('first', 'alice', 'broken', 'bob')
  await statements[0]?.succeed()
  const error = new Error('a defect')
  await statements[1]?.fail(error)
  await statements[2]?.succeed()
  await statements[3]?.fail(error)
  await statements[4]?.succeed()
  expect(usersOfEach()).toEqual([['first'], ['alice', 'broken', 'bob'], ['alice'], ['broken'], ['bob']])
  expect(['alice', 'broken', 'bob'].map((userId) => outcomes.get(userId))).toEqual(['alice', error, 'bob'])
})

test('a database that was silent gives up all that wait, unread, and whoever comes next is read', async () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  const { come, happened, outcomes, statements, usersOfEach } = readers()
  come('first', 'alice', 'bob')
  vi.advanceTimersByTime(silentReadMs)
  const error = away()
  await statements[0]?.fail(error)
  expect(outcomes.get('first')).toBe(error)
  for (const userId of ['alice', 'bob']) expect(outcomes.get(userId)).toMatchObject({ code: 'UNAVAILABLE' })
  expect(happened).toEqual(['begin first', 'read first'])
  come('carol')
  expect(usersOfEach()).toEqual([['first'], ['carol']])
  await statements[1]?.succeed()
  expect(outcomes.get('carol')).toBe('carol')
})

test('the silence that one of several statements found gives up those that wait, and none that is under way', async () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  const { come, outcomes, statements } = readers()
  const full = names(logsPerReadMax, 'user ')
  come('first', ...full, 'alice')
  expect(statements).toHaveLength(2)
  vi.advanceTimersByTime(silentReadMs)
  await statements[1]?.fail(away())
  expect(outcomes.get('alice')).toMatchObject({ code: 'UNAVAILABLE' })
  expect(outcomes.has('first')).toBe(false)
  await statements[0]?.succeed()
  expect(outcomes.get('first')).toBe('first')
})

test.each([
  { what: 'a database that says at once that it is away', afterMs: silentReadMs - 1, error: away() },
  {
    what: 'a statement that was wrong, however late',
    afterMs: silentReadMs,
    error: new Error('carillon_state has no row'),
  },
])('$what gives up none of those that wait', async ({ afterMs, error }) => {
  vi.useFakeTimers({ toFake: ['performance'] })
  const { come, outcomes, statements } = readers()
  come('first', 'alice')
  vi.advanceTimersByTime(afterMs)
  await statements[0]?.fail(error)
  await statements[1]?.succeed()
  expect([...outcomes]).toEqual([
    ['first', error],
    ['alice', 'alice'],
  ])
})

test('a statement that gets no answer holds up the others for a moment only', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  const { come, statements } = readers()
  come('stuck')
  come('first', 'second')
  await vi.advanceTimersByTimeAsync(waitMsMax - 1)
  expect(statements.map(({ users }) => users)).toEqual([['stuck']])
  await vi.advanceTimersByTimeAsync(1)
  expect(statements.map(({ users }) => users)).toEqual([['stuck'], ['first', 'second']])
  for (let more = 0; more < 2 * readsInFlightMax; more++) {
    come(`more ${more}`)
    await vi.advanceTimersByTimeAsync(waitMsMax)
  }
  expect(statements).toHaveLength(readsInFlightMax)
})
