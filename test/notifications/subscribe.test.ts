import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Bus } from '../../src/bus/bus.ts'
import { createCursors, notificationCursor } from '../../src/notifications/cursor.ts'
import type { Doorbell } from '../../src/notifications/doorbell.ts'
import { rotateEpoch } from '../../src/notifications/epoch.ts'
import { logsPerReadMax } from '../../src/notifications/log.ts'
import { readsInFlightMax } from '../../src/notifications/log-reads.ts'
import type { StreamKind } from '../../src/notifications/stream-state.ts'
import { createSubscribe } from '../../src/notifications/subscribe.ts'
import { poolConnectionsMax } from '../../src/postgres.ts'
import { readPage } from '../support/log.ts'
import { createSlice, input, isReceived, type Slice, take, takeSeqs } from '../support/slice.ts'

/** What the bus under test does to each doorbell: hands on what this returns. */
let tamper: (doorbell: Doorbell) => Doorbell[]

function tampering(bus: Bus<Doorbell>): Bus<Doorbell> {
  return {
    ...bus,
    publish: (batch) =>
      bus.publish(batch.flatMap(({ userId, message }) => tamper(message).map((one) => ({ userId, message: one })))),
  }
}

/** What a connection that is refused fails with. */
const away = () => Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })

let slice: Slice
beforeEach(async () => {
  tamper = (doorbell) => [doorbell]
  slice = await createSlice({ wrapBus: tampering })
})
afterEach(() => slice[Symbol.asyncDispose]())

const userId = 'alice'
const send = (count: number, fields = {}) =>
  slice.sendMany(
    'service',
    Array.from({ length: count }, () => input(fields)),
  )
const subscribe = (
  kind: StreamKind = 'notifications',
  after: string | null = null,
  resumeAfter: string | null = null,
) => slice.subscribe(userId, { kind, after, resumeAfter })
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
const cursorAt = async (seq: number) => {
  const stream = await subscribe('notifications', await emptyCursor())
  for (;;) {
    const [event] = await take(stream, 1)
    if (event && isReceived(event) && event.notification.seq === seq) {
      await stream.return()
      return event.cursor
    }
  }
}
const emptyCursor = async () =>
  slice.cursors.encode(userId, (await slice.log.heads([])).epoch, { seq: 0, createdAt: 0 })
/** Fails where the stream yields something within the time that healing a gap takes. */
const expectQuiet = async (stream: AsyncIterator<unknown>) => {
  const quiet = new Promise((resolve) => setTimeout(() => resolve('quiet'), 250))
  expect(await Promise.race([stream.next(), quiet])).toBe('quiet')
}

describe('replay', () => {
  test('without a cursor: what was not acknowledged, oldest first, then live', async () => {
    const sent = await send(5)
    const ids = [1, 3].map((i) => sent[i]?.payload?.notification.id ?? '')
    await slice.acknowledge(userId, 'delivered', { ids })
    const stream = await subscribe()
    expect(await takeSeqs(stream, 3)).toEqual([1, 3, 5])
    await send(1)
    expect(await takeSeqs(stream, 1)).toEqual([6])
  })

  test('with a cursor: everything after it, acknowledged or not', async () => {
    await send(5)
    const after = await cursorAt(2)
    await slice.acknowledge(userId, 'delivered', { upTo: slice.cursors.decode(userId, after) })
    const stream = await subscribe('notifications', after)
    expect(await takeSeqs(stream, 3)).toEqual([3, 4, 5])
  })

  test('pages through thousands in order, while more are sent', async () => {
    await send(1_000)
    await send(50)
    const stream = await subscribe()
    const sending = (async () => {
      for (let i = 0; i < 10; i++) await send(20)
    })()
    expect(await takeSeqs(stream, 1_250)).toEqual(range(1, 1_250))
    await sending
  })

  test('steps over what has expired, was retracted, and does not read it for ever', async () => {
    const sent = await send(4)
    await send(1, { expiresAt: Date.now() + 50 })
    await slice.retract(sent[1]?.payload?.notification.id ?? '')
    await vi.waitFor(async () => {
      const page = await readPage(slice.log, userId, { after: null, undeliveredUpTo: null, checkNext: false })
      expect(page.notifications.map(({ seq }) => seq)).toEqual([1, 3, 4])
    })
    const stream = await subscribe()
    expect(await takeSeqs(stream, 3)).toEqual([1, 3, 4])
    await send(1)
    expect(await takeSeqs(stream, 1)).toEqual([6])
  })

  test('of a user nobody has heard of is empty, and the first one arrives', async () => {
    const stream = await subscribe()
    await send(1)
    expect(await takeSeqs(stream, 1)).toEqual([1])
  })

  test('does not walk over what was acknowledged long ago', async () => {
    const sent = await send(600)
    const last = sent[399]?.payload?.notification
    if (!last) throw new Error('nothing was sent')
    const ids = sent.slice(0, 400).map(({ payload }) => payload?.notification.id ?? '')
    await slice.acknowledge(userId, 'delivered', { ids })
    await (await subscribe()).return()
    const { rows } = await sql<{ seq: number }>`select delivered_seq as seq from inboxes`.execute(slice.database.kysely)
    expect(rows).toEqual([{ seq: 400 }])
    expect(await takeSeqs(await subscribe(), 200)).toEqual(range(401, 600))
  })
})

describe('cursors', () => {
  test('the later of the argument and what the connection brings counts', async () => {
    await send(5)
    const [two, four] = [await cursorAt(2), await cursorAt(4)]
    expect(await takeSeqs(await subscribe('notifications', two, four), 1)).toEqual([5])
    expect(await takeSeqs(await subscribe('notifications', four, two), 1)).toEqual([5])
    expect(await takeSeqs(await subscribe('notifications', null, two), 1)).toEqual([3])
  })

  test("another user's, a forged one and one beyond the head are CURSOR_INVALID", async () => {
    await send(2)
    const epoch = (await slice.log.heads([])).epoch
    const position = { seq: 1, createdAt: Date.now() }
    const invalid = [
      slice.cursors.encode('bob', epoch, position),
      createCursors(Buffer.alloc(32)).encode(userId, epoch, position),
      slice.cursors.encode(userId, epoch, { seq: 3, createdAt: Date.now() }),
      slice.cursors.encode(userId, '0000000000000000', position),
      'nonsense',
    ]
    for (const after of invalid) {
      await expect(subscribe('notifications', after)).rejects.toMatchObject({ code: 'CURSOR_INVALID' })
      await expect(subscribe('inboxEvents', null, after)).rejects.toMatchObject({ code: 'CURSOR_INVALID' })
    }
  })

  test('CURSOR_EXPIRED only where the one after it is past the retention time', async () => {
    await send(4)
    const [two, three] = [await cursorAt(2), await cursorAt(3)]
    await sql`update carillon_state set retained_from = (select created_at from notifications where seq = 3)`.execute(
      slice.database.kysely,
    )
    // All four may have been sent within one millisecond, and then all are past it.
    await sql`update notifications set created_at = created_at + interval '1 second' where seq = 4`.execute(
      slice.database.kysely,
    )
    await expect(subscribe('notifications', two)).rejects.toMatchObject({ code: 'CURSOR_EXPIRED' })
    const [event] = await take(await subscribe('notifications', three), 1)
    const four = event?.cursor ?? ''
    expect(event).toMatchObject({ notification: { seq: 4 } })
    await sql`update carillon_state set retained_from = now() + interval '1 hour'`.execute(slice.database.kysely)
    await expect(subscribe('notifications', three)).rejects.toMatchObject({ code: 'CURSOR_EXPIRED' })
    await (await subscribe('notifications', four)).return()
  })

  test('the cursor of a notification is the same on a stream and computed from the row', async () => {
    const [sent] = await send(1)
    const [event] = await take(await subscribe(), 1)
    if (!sent?.payload || !event) throw new Error('nothing came')
    expect(event.cursor).toBe(notificationCursor(slice.cursors, sent.payload.notification))
  })
})

describe('live', () => {
  test('heals from doorbells that are lost, doubled, late and out of order', async () => {
    const held: Doorbell[] = []
    let count = 0
    tamper = (doorbell) => {
      count++
      if (count % 5 === 0) return []
      if (count % 5 === 1) return [doorbell, doorbell]
      if (count % 5 === 2) return [...held.splice(0), doorbell]
      if (count % 5 === 3) {
        held.push(doorbell)
        return []
      }
      return [doorbell, ...held.splice(0)]
    }
    const stream = await subscribe()
    const sending = (async () => {
      for (let i = 0; i < 100; i++) await slice.send('service', input())
      tamper = (doorbell) => [doorbell]
      await slice.send('service', input())
    })()
    expect(await takeSeqs(stream, 101)).toEqual(range(1, 101))
    await sending
    await expectQuiet(stream)
  })

  test('a doorbell that carries no rows has them read, at once, and has healed nothing', async () => {
    tamper = ({ inbox }) => [{ inbox, news: { kind: 'appended' } }]
    const streams = await Promise.all([subscribe(), subscribe('inboxEvents')])
    await take(streams[1], 1)
    await send(3)
    await send(1)
    expect(await takeSeqs(streams[0], 4)).toEqual(range(1, 4))
    expect(await takeSeqs(streams[1], 4)).toEqual(range(1, 4))
    expect((await slice.metrics.gapHeals.get()).values).toEqual([])
    for (const stream of streams) await stream.return()
  })

  test('does not read the log for what arrives in order', async () => {
    const stream = await subscribe()
    const read = vi.spyOn(slice.log, 'read')
    const sending = send(300)
    expect(await takeSeqs(stream, 300)).toEqual(range(1, 300))
    await sending
    expect(read).not.toHaveBeenCalled()
  })

  test('the tail check finds what no later doorbell betrays', async () => {
    const stream = await subscribe()
    tamper = () => []
    await send(3)
    const seqs = takeSeqs(stream, 3)
    await slice.tailCheck.checkAll()
    expect(await seqs).toEqual([1, 2, 3])
  })

  test('a slow reader falls behind, is bounded, and catches up from the log', async () => {
    const stream = await subscribe()
    for (let i = 0; i < 400; i++) void slice.send('service', input())
    await expect.poll(async () => (await slice.log.heads([userId])).heads.get(userId)?.seq).toBe(400)
    expect(await takeSeqs(stream, 400)).toEqual(range(1, 400))
    for (let i = 0; i < 300; i++) await slice.send('service', input())
    const { values } = await slice.metrics.slowConsumers.get()
    expect(values[0]?.value).toBeGreaterThan(0)
    expect(await takeSeqs(stream, 300)).toEqual(range(401, 700))
  })

  test('what expires while it waits for a slow reader is not delivered', async () => {
    const stream = await subscribe()
    const expiresAt = Date.now() + 100
    await send(1, { expiresAt })
    await send(1)
    await expect.poll(() => Date.now()).toBeGreaterThan(expiresAt)
    expect(await takeSeqs(stream, 1)).toEqual([2])
  })

  test('another epoch ends it with CURSOR_INVALID, found by the tail check', async () => {
    await send(1)
    const stream = await subscribe()
    await takeSeqs(stream, 1)
    const pending = stream.next()
    await rotateEpoch(slice.database)
    await slice.tailCheck.checkAll()
    await expect(pending).rejects.toMatchObject({ code: 'CURSOR_INVALID' })
    expect(await stream.next()).toEqual({ value: undefined, done: true })
  })

  test('a log that knows less than was sent ends it with CURSOR_INVALID', async () => {
    await send(3)
    const stream = await subscribe()
    await takeSeqs(stream, 3)
    const pending = stream.next()
    await sql`update inboxes set last_seq = 2`.execute(slice.database.kysely)
    await slice.tailCheck.checkAll()
    await expect(pending).rejects.toMatchObject({ code: 'CURSOR_INVALID' })
  })

  test('the more that come at once wait for their turns, and for no connection', async () => {
    await send(1)
    const read = slice.log.read
    let running = 0
    let most = 0
    const logsOfEach: number[] = []
    vi.spyOn(slice.log, 'read').mockImplementation(async (requests) => {
      logsOfEach.push(requests.length)
      most = Math.max(most, ++running)
      const pages = await read(requests)
      running--
      return pages
    })
    const streams = Array.from({ length: 1_000 }, () => subscribe())
    const outcome = await Promise.race([slice.send('service', input({ userId: 'bob' })), Promise.all(streams)])
    expect(outcome).toHaveProperty('notification')
    for (const stream of await Promise.all(streams)) expect(await takeSeqs(stream, 1)).toEqual([1])
    expect(most).toBe(readsInFlightMax)
    expect(readsInFlightMax).toBeLessThan(poolConnectionsMax)
    expect(Math.max(...logsOfEach)).toBe(logsPerReadMax)
    // Each is read once: the first alone, and all who wait for it in statements that are full.
    expect(logsOfEach.reduce((sum, logs) => sum + logs, 0)).toBe(streams.length)
    expect(logsOfEach.length).toBe(1 + Math.ceil((streams.length - 1) / logsPerReadMax))
  })

  test('subscribing while the database is away fails with UNAVAILABLE, and leaves nothing behind', async () => {
    vi.spyOn(slice.log, 'read').mockRejectedValue(away())
    await expect(subscribe()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    const { values } = await slice.metrics.subscriptionsActive.get()
    expect(values[0]?.value).toBe(0)
    const heads = vi.spyOn(slice.log, 'heads')
    await slice.tailCheck.checkAll()
    expect(heads).not.toHaveBeenCalled()
  })

  test('while the database is away a running one is held open, and goes on afterwards', async () => {
    const stream = await subscribe()
    await send(1)
    await takeSeqs(stream, 1)
    tamper = () => []
    await send(2)
    const read = slice.log.read
    const failing = vi.spyOn(slice.log, 'read').mockImplementation(() => Promise.reject(away()))
    const seqs = takeSeqs(stream, 2)
    await slice.tailCheck.checkAll()
    await vi.waitFor(() => expect(failing.mock.calls.length).toBeGreaterThan(2))
    failing.mockImplementation(read)
    expect(await seqs).toEqual([2, 3])
  })

  test('however many could not read their logs, one line a minute says so', async () => {
    const lines: string[] = []
    const logger = pino({}, { write: (line) => void lines.push(line) })
    const subscribe = createSubscribe({ ...slice, clock: Date, logger })
    const streams = await Promise.all(
      Array.from({ length: 20 }, () => subscribe(userId, { kind: 'notifications', after: null, resumeAfter: null })),
    )
    const failing = vi.spyOn(slice.log, 'read').mockRejectedValue(away())
    const pending = streams.map((stream) => stream.next())
    for (const stream of streams) stream.distrust()
    await vi.waitFor(() => expect(failing.mock.calls.flatMap(([requests]) => requests).length).toBeGreaterThan(40))
    for (const stream of streams) await stream.return()
    await Promise.all(pending)
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ reason: away().message, times: 1 }])
  })
})

describe('inbox events', () => {
  test('replay, then CaughtUp, then what happens, with the counters', async () => {
    const [first] = await send(2)
    const id = first?.payload?.notification.id ?? ''
    const stream = await subscribe('inboxEvents')
    expect((await take(stream, 3)).map(({ __typename }) => __typename)).toEqual([
      'NotificationReceived',
      'NotificationReceived',
      'CaughtUp',
    ])
    await slice.acknowledge(userId, 'read', { ids: [id] })
    await send(1)
    await slice.retract(id)
    const events = await take(stream, 3)
    expect(events).toMatchObject([
      { __typename: 'NotificationsUpdated', notifications: [{ id, readAt: expect.any(Number) }], inbox: { unread: 1 } },
      { __typename: 'NotificationReceived', notification: { seq: 3 }, inbox: { unread: 2 } },
      { __typename: 'NotificationsRemoved', ids: [id], inbox: { unread: 2 } },
    ])
  })

  test('CaughtUp says whether states changed meanwhile', async () => {
    const [first] = await send(2)
    const ids = [first?.payload?.notification.id ?? '']
    const fresh = await take(await subscribe('inboxEvents'), 3)
    expect(fresh[2]).toMatchObject({ __typename: 'CaughtUp', stateChanged: false })
    const cursor = fresh[2]?.cursor ?? ''
    const same = await take(await subscribe('inboxEvents', cursor), 1)
    expect(same[0]).toMatchObject({ __typename: 'CaughtUp', stateChanged: false })
    await slice.acknowledge(userId, 'seen', { ids })
    const changed = await take(await subscribe('inboxEvents', cursor), 1)
    expect(changed[0]).toMatchObject({ __typename: 'CaughtUp', stateChanged: true })
    const after = await take(await subscribe('inboxEvents', changed[0]?.cursor), 1)
    expect(after[0]).toMatchObject({ __typename: 'CaughtUp', stateChanged: false })
  })

  test('a cursor from the middle of a replay does not hide a change before it', async () => {
    await send(3)
    const [, , caughtUp] = await take(await subscribe('inboxEvents'), 4)
    await slice.acknowledge(userId, 'seen', { ids: [(await send(1))[0]?.payload?.notification.id ?? ''] })
    const start = await take(await subscribe('inboxEvents', await emptyCursor()), 2)
    expect(caughtUp).toBeDefined()
    const resumed = await take(await subscribe('inboxEvents', start[1]?.cursor), 3)
    expect(resumed[2]).toMatchObject({ __typename: 'CaughtUp', stateChanged: true })
  })

  test('a lost update shows itself as CaughtUp with stateChanged, once', async () => {
    const [first] = await send(1)
    const ids = [first?.payload?.notification.id ?? '']
    const stream = await subscribe('inboxEvents')
    await take(stream, 2)
    tamper = () => []
    await slice.acknowledge(userId, 'seen', { ids })
    const pending = take(stream, 1)
    await slice.tailCheck.checkAll()
    expect(await pending).toMatchObject([{ __typename: 'CaughtUp', stateChanged: true, inbox: { unseen: 0 } }])
    tamper = (doorbell) => [doorbell]
    await slice.acknowledge(userId, 'read', { ids })
    expect(await take(stream, 1)).toMatchObject([{ __typename: 'NotificationsUpdated' }])
    await expectQuiet(stream)
  })

  test('an update that overtakes the notification waits for it', async () => {
    const stream = await subscribe('inboxEvents')
    await take(stream, 1)
    const late: Doorbell[] = []
    tamper = (doorbell) => {
      if (doorbell.news.kind !== 'received') return [doorbell, ...late]
      late.push(doorbell)
      return []
    }
    const [sent] = await send(1)
    await slice.acknowledge(userId, 'seen', { ids: [sent?.payload?.notification.id ?? ''] })
    expect((await take(stream, 2)).map(({ __typename }) => __typename)).toEqual([
      'NotificationReceived',
      'NotificationsUpdated',
    ])
  })

  test('more than 100 changes at once are one CaughtUp with stateChanged', async () => {
    await send(150)
    const stream = await subscribe('inboxEvents')
    const events = await take(stream, 151)
    const upTo = slice.cursors.decode(userId, events[150]?.cursor ?? '')
    await slice.acknowledge(userId, 'read', { upTo })
    expect(await take(stream, 1)).toMatchObject([{ __typename: 'CaughtUp', stateChanged: true, inbox: { unread: 0 } }])
    await expectQuiet(stream)
  })
})

describe('leaving', () => {
  test('return() settles a next() that waits, at once', async () => {
    const stream = await subscribe()
    const pending = stream.next()
    await stream.return()
    expect(await pending).toEqual({ value: undefined, done: true })
    expect(await stream.next()).toEqual({ value: undefined, done: true })
  })

  test('subscribing and leaving 10,000 times leaves nothing behind', { timeout: 120_000 }, async () => {
    let listeners = 0
    const quiet = await createSlice({
      wrapBus: (bus) => ({
        ...bus,
        listen: (user, onMessage) => {
          listeners++
          const listening = bus.listen(user, onMessage)
          const close = () => {
            listeners--
            listening.close()
          }
          return { attached: listening.attached, close }
        },
      }),
    })
    await using _ = quiet
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
    const cycle = async () => {
      const stream = await quiet.subscribe(`user-${randomUUID()}`, {
        kind: 'inboxEvents',
        after: null,
        resumeAfter: null,
      })
      void stream.next()
      void stream.next()
      await stream.return()
    }
    const cycles = async (count: number) => {
      for (let i = 0; i < count; i += 10) await Promise.all(Array.from({ length: 10 }, cycle))
    }
    // The connections of the pool have timers too.
    await cycles(100)
    const timersBefore = timers()
    await cycles(9_900)
    expect(listeners).toBe(0)
    const { values } = await quiet.metrics.subscriptionsActive.get()
    expect(values[0]?.value).toBe(0)
    const heads = vi.spyOn(quiet.log, 'heads')
    await quiet.tailCheck.checkAll()
    expect(heads).not.toHaveBeenCalled()
    expect(timers()).toBeLessThanOrEqual(timersBefore + 2)
  })
})
