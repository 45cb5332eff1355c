import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { idsMax, type SelectionArguments, toSelection } from '../../src/notifications/acknowledge.ts'
import { notificationCursor } from '../../src/notifications/cursor.ts'
import { readInbox } from '../../src/notifications/inbox.ts'
import { type Mark, markRowsMax } from '../../src/notifications/marks.ts'
import type { Notification } from '../../src/notifications/notification.ts'
import { doorbells, fill, makeOlder, miscounted, readPage } from '../support/log.ts'
import { createSlice, retentionMs, type Slice } from '../support/slice.ts'

let slice: Slice
beforeAll(async () => {
  slice = await createSlice()
})
afterAll(() => slice[Symbol.asyncDispose]())

const newUser = () => `user-${randomUUID()}`
const idsOf = (notifications: (Notification | undefined)[]) => notifications.flatMap((one) => one?.id ?? [])
const cursorOf = (one: Notification | undefined) => (one ? notificationCursor(slice.cursors, one) : '')
const mark = (userId: string, as: Mark, args: SelectionArguments) =>
  slice.acknowledge(userId, as, toSelection(slice.cursors, userId, args))

describe('each mark', () => {
  const t = expect.any(Number)
  const states: [Mark[], object, object][] = [
    [['delivered'], [t, null, null, null], [0, 1, 1]],
    [['seen'], [t, t, null, null], [0, 0, 1]],
    [['read'], [t, t, t, null], [0, 0, 0]],
    [['archived'], [t, t, t, t], [0, 0, 0]],
    [
      ['read', 'unread'],
      [t, t, null, null],
      [0, 0, 1],
    ],
    [
      ['archived', 'unarchived'],
      [t, t, t, null],
      [0, 0, 0],
    ],
    [
      ['archived', 'unarchived', 'unread'],
      [t, t, null, null],
      [0, 0, 1],
    ],
    [
      ['delivered', 'seen', 'read'],
      [t, t, t, null],
      [0, 0, 0],
    ],
  ]
  test.each(states)('%j: sets what it implies, and the counters follow', async (marks, expected, counters) => {
    const userId = newUser()
    const [one] = await fill(slice, userId, 1)
    let last = await mark(userId, 'delivered', { ids: [] })
    for (const as of marks) last = await mark(userId, as, { ids: idsOf([one]) })
    expect(last.count).toBe(1)
    const [changed] = last.notifications
    expect(changed).toMatchObject({
      ...one,
      deliveredAt: t,
      seenAt: changed?.seenAt,
      readAt: changed?.readAt,
      archivedAt: changed?.archivedAt,
    })
    expect([changed?.deliveredAt, changed?.seenAt, changed?.readAt, changed?.archivedAt]).toEqual(expected)
    expect([last.inbox.undelivered, last.inbox.unseen, last.inbox.unread]).toEqual(counters)
    expect(last.inbox).toEqual(await readInbox(slice.database, userId))
    expect(last.inbox.stateVersion).toBe(marks.length)
    const found = await readPage(slice.log, userId, {
      after: { seq: 0, createdAt: 0 },
      undeliveredUpTo: 0,
      checkNext: false,
    })
    expect(found.notifications).toEqual([changed])
    expect(await miscounted(slice.database)).toEqual([])
  })

  test('the first time stands, whatever implies it later', async () => {
    const userId = newUser()
    const ids = idsOf(await fill(slice, userId, 1))
    const delivered = await mark(userId, 'delivered', { ids })
    const read = await mark(userId, 'read', { ids })
    const archived = await mark(userId, 'archived', { ids })
    expect(archived.notifications[0]?.deliveredAt).toBe(delivered.notifications[0]?.deliveredAt)
    expect(archived.notifications[0]?.readAt).toBe(read.notifications[0]?.readAt)
    expect(delivered.notifications[0]?.deliveredAt).toBeGreaterThanOrEqual(
      delivered.notifications[0]?.createdAt ?? Infinity,
    )
  })

  test.each<Mark>(['delivered', 'seen', 'read', 'unread', 'archived', 'unarchived'])(
    '%s: once more changes nothing, bumps nothing, rings for nobody',
    async (as) => {
      const userId = newUser()
      const ids = idsOf(await fill(slice, userId, 2))
      if (as === 'unread' || as === 'unarchived') await mark(userId, as === 'unread' ? 'read' : 'archived', { ids })
      const { inbox } = await mark(userId, as, { ids })
      const rung = doorbells(slice.bus, userId)
      expect(await mark(userId, as, { ids })).toEqual({ count: 0, notifications: [], inbox })
      expect(rung).toEqual([])
    },
  )

  test('an archived one is not marked unread', async () => {
    const userId = newUser()
    const ids = idsOf(await fill(slice, userId, 1))
    await mark(userId, 'archived', { ids })
    expect((await mark(userId, 'unread', { ids })).count).toBe(0)
  })
})

describe('by id', () => {
  test('changes those named, newest first, each once; ignores what is unknown or no id', async () => {
    const userId = newUser()
    const [first, second, third] = await fill(slice, userId, 3)
    const ids = [...idsOf([first, third, first]), randomUUID(), 'no id', '', '\0', third?.id.toUpperCase() ?? '']
    const { count, notifications, inbox } = await mark(userId, 'read', { ids })
    expect(count).toBe(2)
    expect(idsOf(notifications)).toEqual(idsOf([third, first]))
    expect(inbox).toMatchObject({ undelivered: 1, unseen: 1, unread: 1, stateVersion: 1, seq: 3 })
    expect((await mark(userId, 'read', { ids: idsOf([second]) })).count).toBe(1)
  })

  test("ignores somebody else's", async () => {
    const [owner, other] = [newUser(), newUser()]
    const ids = idsOf(await fill(slice, owner, 1))
    expect(await mark(other, 'read', { ids })).toMatchObject({ count: 0, notifications: [], inbox: { userId: other } })
    expect((await readInbox(slice.database, owner)).unread).toBe(1)
  })

  test('ignores what has expired, was retracted or is past the retention time', async () => {
    const userId = newUser()
    const sent = await fill(slice, userId, 4)
    await makeOlder(slice.database, userId, 1, retentionMs + 1_000)
    await slice.retract(sent[1]?.id ?? '')
    await sql`update notifications set expires_at = now() where id = ${sent[2]?.id}`.execute(slice.database.kysely)
    const { count, notifications } = await mark(userId, 'archived', { ids: idsOf(sent) })
    expect([count, idsOf(notifications)]).toEqual([1, idsOf([sent[3]])])
    expect(await miscounted(slice.database)).toEqual([])
  })

  test('an empty list changes nothing and answers the inbox', async () => {
    const userId = newUser()
    await fill(slice, userId, 2)
    expect(await mark(userId, 'archived', { ids: [] })).toMatchObject({ count: 0, inbox: { unread: 2, seq: 2 } })
  })

  test('rings with the new states up to 100, and beyond that says to fetch again', async () => {
    const userId = newUser()
    const sent = await fill(slice, userId, 201)
    const rung = doorbells(slice.bus, userId)
    const some = await mark(userId, 'seen', { ids: idsOf(sent.slice(0, 100)) })
    expect(rung).toEqual([
      { inbox: some.inbox, news: { kind: 'updated', notifications: some.notifications, bumps: 1 } },
    ])
    expect(some.notifications.length).toBe(100)
    const more = await mark(userId, 'seen', { ids: idsOf(sent.slice(100)) })
    expect(rung[1]).toEqual({ inbox: more.inbox, news: { kind: 'changed', bumps: 1 } })
    expect(more).toMatchObject({ count: 101, inbox: { unseen: 0, stateVersion: 2 } })
    expect(idsOf(more.notifications)).toEqual(idsOf(sent.slice(101).reverse()))
  })
})

describe('up to a cursor', () => {
  test('takes it and all before it, and of those behind `after` only', async () => {
    const userId = newUser()
    const sent = await fill(slice, userId, 6)
    const stretch = await mark(userId, 'delivered', { upTo: cursorOf(sent[3]), after: cursorOf(sent[1]) })
    expect(idsOf(stretch.notifications)).toEqual(idsOf([sent[3], sent[2]]))
    const rest = await mark(userId, 'delivered', { upTo: cursorOf(sent[4]) })
    expect(idsOf(rest.notifications)).toEqual(idsOf([sent[4], sent[1], sent[0]]))
    expect(rest.inbox).toMatchObject({ undelivered: 1, stateVersion: 2 })
  })

  test('an empty stretch changes nothing', async () => {
    const userId = newUser()
    const sent = await fill(slice, userId, 2)
    expect((await mark(userId, 'read', { upTo: cursorOf(sent[0]), after: cursorOf(sent[1]) })).count).toBe(0)
  })

  test('a whole inbox of more than one commit, as one doorbell that covers them all', async () => {
    const userId = newUser()
    const sent = await fill(slice, userId, markRowsMax + 1)
    await mark(userId, 'delivered', { ids: idsOf(sent.slice(0, 7)) })
    const rung = doorbells(slice.bus, userId)
    const { count, notifications, inbox } = await mark(userId, 'archived', { upTo: cursorOf(sent.at(-1)) })
    expect(count).toBe(markRowsMax + 1)
    expect(idsOf(notifications)).toEqual(idsOf(sent.slice(-100).reverse()))
    expect(inbox).toMatchObject({ undelivered: 0, unseen: 0, unread: 0, stateVersion: 3 })
    expect(rung).toEqual([{ inbox, news: { kind: 'changed', bumps: 2 } }])
  })

  test.each<Mark>(['delivered', 'seen', 'read', 'archived'])(
    '%s moves the watermark that replays begin at, and never back',
    async (as) => {
      const userId = newUser()
      const sent = await fill(slice, userId, 3)
      const watermark = async () =>
        (
          await slice.database.kysely
            .selectFrom('inboxes')
            .select('delivered_seq')
            .where('user_id', '=', userId)
            .executeTakeFirstOrThrow()
        ).delivered_seq
      await mark(userId, as, { upTo: cursorOf(sent[1]), after: cursorOf(sent[0]) })
      expect(await watermark()).toBe(0)
      await mark(userId, as, { upTo: cursorOf(sent[1]) })
      expect(await watermark()).toBe(2)
      await mark(userId, as, { upTo: cursorOf(sent[0]) })
      expect(await watermark()).toBe(2)
    },
  )

  test('finds what is unread below the watermark', async () => {
    const userId = newUser()
    const sent = await fill(slice, userId, 4)
    await mark(userId, 'delivered', { upTo: cursorOf(sent[3]) })
    await mark(userId, 'read', { upTo: cursorOf(sent[1]) })
    await mark(userId, 'unread', { ids: idsOf([sent[0]]) })
    expect(idsOf((await mark(userId, 'read', { upTo: cursorOf(sent[3]) })).notifications)).toEqual(
      idsOf([sent[3], sent[2], sent[0]]),
    )
  })

  test('a cursor past the retention time is fine', async () => {
    const userId = newUser()
    const sent = await fill(slice, userId, 2)
    await makeOlder(slice.database, userId, 1, retentionMs + 1_000)
    expect(await mark(userId, 'read', { upTo: cursorOf(sent[1]), after: cursorOf(sent[0]) })).toMatchObject({
      count: 1,
    })
  })
})

describe('arguments', () => {
  const refused = (code: string) => expect.objectContaining({ code })
  test('exactly one of ids and upTo, `after` only with upTo, at most 1,000 ids', () => {
    const upTo = slice.cursors.encode('alice', '0123456789abcdef', { seq: 1, createdAt: 1 })
    const selection = (args: SelectionArguments) => () => toSelection(slice.cursors, 'alice', args)
    for (const args of [{}, { ids: null, upTo: null }, { ids: [], upTo }, { after: upTo }, { ids: [], after: upTo }]) {
      expect(selection(args)).toThrow(refused('BAD_USER_INPUT'))
    }
    expect(selection({ ids: new Array(idsMax + 1).fill(randomUUID()) })).toThrow(refused('BAD_USER_INPUT'))
    expect(selection({ upTo: 'nothing' })).toThrow(refused('CURSOR_INVALID'))
    expect(selection({ upTo, after: 'nothing' })).toThrow(refused('CURSOR_INVALID'))
    expect(selection({ ids: null, upTo, after: null })()).toEqual({
      upTo: { epoch: '0123456789abcdef', seq: 1, createdAt: 1 },
    })
  })

  test('a cursor of another epoch is CURSOR_INVALID, and changes nothing', async () => {
    const userId = newUser()
    const [one] = await fill(slice, userId, 1)
    if (!one) throw new Error('nothing sent')
    const foreign = slice.cursors.encode(userId, '0123456789abcdef', one)
    for (const args of [
      { upTo: foreign },
      { upTo: foreign, after: foreign },
      { upTo: cursorOf(one), after: foreign },
    ]) {
      await expect(mark(userId, 'read', args)).rejects.toThrow(refused('CURSOR_INVALID'))
    }
    expect(await readInbox(slice.database, userId)).toMatchObject({ unread: 1, stateVersion: 0 })
  })
})

test('waits for a lock that somebody holds for a moment, and is UNAVAILABLE where it lasts', async () => {
  const userId = newUser()
  const ids = idsOf(await fill(slice, userId, 1))
  const holder = new pg.Client({ connectionString: slice.url })
  await holder.connect()
  try {
    const hold = async () => {
      await holder.query('begin')
      await holder.query('select from inboxes where user_id = $1 for update', [userId])
    }
    await hold()
    await expect(mark(userId, 'seen', { ids })).rejects.toThrow(expect.objectContaining({ code: 'UNAVAILABLE' }))
    const waiting = mark(userId, 'read', { ids })
    await holder.query('select pg_sleep(0.3)')
    await holder.query('rollback')
    expect(await waiting).toMatchObject({ count: 1, inbox: { unseen: 0, unread: 0 } })
  } finally {
    await holder.end()
  }
})

test('ten devices that acknowledge the same at once change it once, and the counters hold', async () => {
  const userId = newUser()
  const sent = await fill(slice, userId, 50)
  const cursor = cursorOf(sent.at(-1))
  const rung = doorbells(slice.bus, userId)
  const results = await Promise.all(
    Array.from({ length: 10 }, (_, i) => mark(userId, 'read', i % 2 ? { upTo: cursor } : { ids: idsOf(sent) })),
  )
  expect(results.reduce((sum, { count }) => sum + count, 0)).toBe(50)
  expect(rung.length).toBe(results.filter(({ count }) => count > 0).length)
  expect(await readInbox(slice.database, userId)).toMatchObject({ undelivered: 0, unseen: 0, unread: 0 })
  expect(await miscounted(slice.database)).toEqual([])
})
