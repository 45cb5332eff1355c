// A backup is restored under running clients, and nobody runs rotate-epoch: the head goes back, and its numbers are given
// out again. Whoever holds a place in what was lost is told CURSOR_INVALID, and never skips a notification silently.
import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Bus } from '../../src/bus/bus.ts'
import type { Doorbell } from '../../src/notifications/doorbell.ts'
import type { InboxEvent } from '../../src/notifications/events.ts'
import { pageRowsMax } from '../../src/notifications/log.ts'
import { createSend } from '../../src/notifications/send.ts'
import type { StreamKind } from '../../src/notifications/stream-state.ts'
import { validateContent } from '../../src/notifications/validate.ts'
import { dayMs, makeOlder } from '../support/log.ts'
import { createSlice, input, isReceived, retentionMs, type Slice, take, takeSeqs } from '../support/slice.ts'

const userId = 'alice'
const kinds: StreamKind[] = ['notifications', 'inboxEvents']

/** What the bus does to each doorbell: hands on what this returns. */
let tamper: (doorbell: Doorbell) => Doorbell[]
let slice: Slice
beforeEach(async () => {
  tamper = (doorbell) => [doorbell]
  // No tail check but those that a test asks for.
  slice = await createSlice({ wrapBus: tampering, tailCheckMs: dayMs })
})
afterEach(() => slice[Symbol.asyncDispose]())

function tampering(bus: Bus<Doorbell>): Bus<Doorbell> {
  return {
    ...bus,
    publish: (batch) =>
      bus.publish(batch.flatMap(({ message, ...one }) => tamper(message).map((each) => ({ ...one, message: each })))),
  }
}

const subscribe = (kind: StreamKind, after: string | null = null) =>
  slice.subscribe(userId, { kind, after, resumeAfter: null })

async function sendEach(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await slice.send('service', input())
}

async function sendAtOnce(count: number): Promise<void> {
  await slice.sendMany(
    'service',
    Array.from({ length: count }, () => input()),
  )
}

async function sendInOneCommit(count: number): Promise<void> {
  const items = Array.from({ length: count }, () => ({
    ...validateContent(input()),
    id: randomUUID(),
    idempotency: null,
  }))
  const appended = (await slice.append.append(items)).flatMap((one) => one ?? [])
  const inbox = appended.at(-1)?.inbox
  if (!inbox) throw new Error('nothing was appended')
  const news = { kind: 'received' as const, notifications: appended.map(({ notification }) => notification) }
  await slice.bus.publish([{ userId, message: { inbox, news } }])
}

/** Another millisecond than whatever was sent before. */
async function later(): Promise<void> {
  const startedAt = Date.now()
  await expect.poll(() => Date.now(), { interval: 1 }).toBeGreaterThan(startedAt + 1)
}

/** A stream that has everything up to the head, which is there. */
async function live(kind: StreamKind, head: number): Promise<AsyncIterator<InboxEvent>> {
  const stream = await subscribe(kind)
  await take(stream, kind === 'inboxEvents' ? head + 1 : head)
  return stream
}

/** As the log was when it had so many. */
async function restore(head: number): Promise<void> {
  await later()
  await sql`delete from notifications where seq > ${head}`.execute(slice.database.kysely)
  if (head === 0) await sql`delete from inboxes`.execute(slice.database.kysely)
  await sql`update inboxes set last_seq = ${head}, undelivered = ${head}, unseen = ${head}, unread = ${head},
    last_created_at = (select created_at from notifications where seq = ${head})`.execute(slice.database.kysely)
}

/** Seen from its clock, what was sent up to `seq` was sent in an hour, or so many hours. */
async function turnClockBack(seq: number, hours = 1): Promise<void> {
  const moved = sql`+ ${hours}::float8 * interval '1 hour'`
  await sql`update notifications set created_at = created_at ${moved} where seq <= ${seq}`.execute(
    slice.database.kysely,
  )
  await sql`update inboxes set last_created_at = last_created_at ${moved}`.execute(slice.database.kysely)
}

/** Nothing comes any more but CURSOR_INVALID. */
const expectInvalid = (event: Promise<unknown>) => expect(event).rejects.toMatchObject({ code: 'CURSOR_INVALID' })

/** The doorbells of the notifications with these seqs are lost. */
const losing =
  (...seqs: number[]) =>
  (doorbell: Doorbell) =>
    seqs.includes(doorbell.inbox.seq) ? [] : [doorbell]

describe.each(kinds)('a live stream of %s ends', (kind) => {
  test('at the first doorbell with a number that it has', async () => {
    await sendEach(5)
    const stream = await live(kind, 5)
    await restore(3)
    await sendEach(1)
    await expectInvalid(stream.next())
  })

  test('where several were sent quickly, and the last would be the next', async () => {
    await sendEach(5)
    const stream = await live(kind, 5)
    await restore(3)
    await sendEach(3)
    await expectInvalid(stream.next())
  })

  test('where one batch goes over the number that it has', async () => {
    await sendEach(3)
    await sendInOneCommit(2)
    // Of the same moment as the last one that is kept.
    await sql`update notifications set created_at = (select last_created_at from inboxes)`.execute(
      slice.database.kysely,
    )
    const stream = await live(kind, 5)
    await restore(3)
    await sendInOneCommit(3)
    await expectInvalid(stream.next())
  })

  test('where the doorbells of all numbers that it has are lost, and the next one fits', async () => {
    await sendEach(5)
    const stream = await live(kind, 5)
    await restore(3)
    tamper = losing(4, 5)
    await sendEach(3)
    await expectInvalid(stream.next())
  })

  test('where the one that fits overtakes the others', async () => {
    await sendEach(5)
    const stream = await live(kind, 5)
    await restore(3)
    const held: Doorbell[] = []
    tamper = (doorbell) => {
      if (doorbell.inbox.seq === 6) return [doorbell, ...held]
      held.push(doorbell)
      return []
    }
    const next = stream.next()
    await Promise.all([sendEach(3), expectInvalid(next)])
  })

  test('where a doorbell leaves a gap', async () => {
    await sendEach(5)
    const stream = await live(kind, 5)
    await restore(3)
    tamper = losing(4, 5, 6)
    await sendEach(4)
    await expectInvalid(stream.next())
  })

  test.each([
    ['below', 1],
    ['at', 2],
    ['beyond', 3],
  ])('where no doorbell comes, by the tail check: the head is %s its own', async (_, count) => {
    await sendEach(5)
    const stream = await live(kind, 5)
    await restore(3)
    tamper = () => []
    await sendEach(count)
    const next = stream.next()
    await Promise.all([slice.tailCheck.checkAll(), expectInvalid(next)])
  })

  test.each([
    ['below', 1],
    ['at', 5],
    ['beyond', 6],
  ])('where the user was unknown to the backup, and the head is %s its own', async (_, count) => {
    await sendEach(5)
    const [told, untold] = [await live(kind, 5), await live(kind, 5)]
    await restore(0)
    await slice.tailCheck.checkAll()
    await expectInvalid(untold.next())
    await sendEach(count)
    await expectInvalid(told.next())
  })

  test('where one that was sent after the backup reached it after the restore', async () => {
    await sendEach(4)
    const stream = await live(kind, 4)
    const lost: Doorbell[] = []
    tamper = (doorbell) => {
      lost.push(doorbell)
      return []
    }
    await sendEach(1)
    await restore(4)
    tamper = (doorbell) => [doorbell]
    await slice.bus.publish(lost.map((message) => ({ userId, message })))
    expect(await takeSeqs(stream, 1)).toEqual([5])
    await sendEach(1)
    await expectInvalid(stream.next())
  })

  test('where the clock of the restored database is behind: by the tail check', async () => {
    await sendEach(5)
    await turnClockBack(5)
    const stream = await live(kind, 5)
    await restore(3)
    await turnClockBack(3, -1)
    await sendEach(2)
    const next = stream.next()
    await Promise.all([slice.tailCheck.checkAll(), expectInvalid(next)])
  })

  test('where the clock of the restored database is behind: by the next one', async () => {
    await sendEach(5)
    await turnClockBack(5)
    const stream = await live(kind, 5)
    await restore(3)
    await turnClockBack(3, -1)
    tamper = losing(5)
    await sendEach(3)
    await expectInvalid(stream.next())
  })
})

test('a replay ends where the backup is restored between two of its pages', async () => {
  const count = pageRowsMax + 50
  await sendAtOnce(count)
  const stream = await subscribe('notifications')
  expect(await takeSeqs(stream, pageRowsMax)).toHaveLength(pageRowsMax)
  await restore(0)
  await sendAtOnce(count)
  await expectInvalid(stream.next())
})

describe.each(kinds)('a client that comes back to %s', (kind) => {
  test.each([
    ['below', 1],
    ['at', 2],
    ['beyond', 3],
  ])('with a place that was lost is told so: the head is %s it', async (_, count) => {
    await sendEach(5)
    const events = await take(await subscribe(kind), 5)
    const [kept, lost] = [events[2]?.cursor ?? '', events[4]?.cursor ?? '']
    await restore(3)
    await sendEach(count)
    await expectInvalid(subscribe(kind, lost))
    await expectInvalid(slice.subscribe(userId, { kind, after: kept, resumeAfter: lost }))
    expect(await takeSeqs(await subscribe(kind, kept), 1)).toEqual([4])
  })

  test('names the newest, though its library repeats a first one that was lost', async () => {
    await sendEach(5)
    const events = await take(await subscribe(kind), 5)
    await restore(3)
    await sendEach(2)
    const [newer] = await take(await subscribe(kind, events[2]?.cursor), 1)
    const stream = await slice.subscribe(userId, {
      kind,
      after: events[4]?.cursor ?? null,
      resumeAfter: newer?.cursor ?? null,
    })
    expect(await takeSeqs(stream, 1)).toEqual([5])
  })

  test('is told so too where the clock of the restored database is behind', async () => {
    await sendEach(5)
    await turnClockBack(5)
    const [, , , , lost] = await take(await subscribe(kind), 5)
    await restore(3)
    await turnClockBack(3, -1)
    await sendEach(3)
    await expectInvalid(subscribe(kind, lost?.cursor))
  })
})

describe('a place past the retention time', () => {
  const cursorAt = async (seq: number) => {
    const { rows } = await sql<{ at: number }>`select (extract(epoch from created_at) * 1000)::float8 as at
      from notifications where seq = ${seq}`.execute(slice.database.kysely)
    const { epoch } = await slice.log.heads([])
    return slice.cursors.encode(userId, epoch, { seq, createdAt: rows[0]?.at ?? 0 })
  }
  /** As the retention task does when their partition goes. */
  const drop = (upTo: number) => sql`delete from notifications where seq <= ${upTo}`.execute(slice.database.kysely)

  test('whose partition was dropped is valid as long as the next one is there', async () => {
    await sendEach(4)
    await makeOlder(slice.database, userId, 2, retentionMs + dayMs)
    const [one, two] = [await cursorAt(1), await cursorAt(2)]
    await drop(2)
    expect(await takeSeqs(await subscribe('notifications', two), 2)).toEqual([3, 4])
    await expect(subscribe('notifications', one)).rejects.toMatchObject({ code: 'CURSOR_EXPIRED' })
  })

  test('is not where its number was given out again', async () => {
    await sendEach(4)
    await makeOlder(slice.database, userId, 4, retentionMs + dayMs)
    const four = await cursorAt(4)
    await restore(2)
    await sendEach(3)
    await drop(2)
    await expectInvalid(subscribe('notifications', four))
  })

  test('of the newest one is valid, though it is gone', async () => {
    await sendEach(2)
    await makeOlder(slice.database, userId, 2, retentionMs + dayMs)
    const two = await cursorAt(2)
    await sql`update inboxes set last_created_at = (select max(created_at) from notifications)`.execute(
      slice.database.kysely,
    )
    await drop(2)
    const stream = await subscribe('notifications', two)
    await sendEach(1)
    expect(await takeSeqs(stream, 1)).toEqual([3])
  })
})

describe('states that go back', () => {
  /** Everything but the states is as it was: nothing was sent since the backup. */
  const forget = () => sql`update inboxes set state_version = state_version - 1`.execute(slice.database.kysely)

  test('end a live stream at the next tail check', async () => {
    const { notification } = await slice.send('service', input())
    const stream = await live('inboxEvents', 1)
    await slice.acknowledge(userId, 'read', { ids: [notification.id] })
    await take(stream, 1)
    await forget()
    const next = stream.next()
    await Promise.all([slice.tailCheck.checkAll(), expectInvalid(next)])
  })

  test('are told to a client that comes back', async () => {
    const { notification } = await slice.send('service', input())
    const stream = await live('inboxEvents', 1)
    await slice.acknowledge(userId, 'read', { ids: [notification.id] })
    const [updated] = await take(stream, 1)
    await forget()
    await expectInvalid(subscribe('inboxEvents', updated?.cursor))
    // Of no concern to a stream of notifications, of which none was lost.
    await (await subscribe('notifications', updated?.cursor)).return()
  })
})

describe('what looks alike and is none', () => {
  test('a doorbell that does not say what it follows upon is read from the log', async () => {
    tamper = ({ inbox: { createdAtBefore: _, ...inbox }, news }) => [{ inbox, news }]
    const stream = await subscribe('notifications')
    const sending = sendEach(20)
    expect(await takeSeqs(stream, 20)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1))
    await sending
  })

  test.each([
    ['heard', [1, 2]],
    ['lost', []],
  ])('an inbox that was there before its first notification, whose doorbell is %s', async (_, heard) => {
    await sql`insert into inboxes (user_id, last_seq, last_created_at) values (${userId}, 0, now())`.execute(
      slice.database.kysely,
    )
    const stream = await subscribe('notifications')
    await later()
    tamper = (doorbell) => (heard.includes(doorbell.inbox.seq) ? [doorbell] : [])
    await sendEach(2)
    const seqs = takeSeqs(stream, 2)
    await slice.tailCheck.checkAll()
    expect(await seqs).toEqual([1, 2])
  })

  test('two instances that send to one user at the same moments', async () => {
    const rung: Doorbell[] = []
    slice.bus.listen(userId, (doorbell) => void rung.push(doorbell))
    const other = createSend({
      ...slice,
      clock: Date,
      limit: null,
      onUnexpected: (error) => {
        throw error
      },
    })
    const stream = await subscribe('notifications')
    const seqs = takeSeqs(stream, 200)
    const each = async (send: Slice['send']) => {
      for (let i = 0; i < 100; i++) await send('service', input())
    }
    await Promise.all([each(slice.send), each(other.send)])
    expect(await seqs).toEqual(Array.from({ length: 200 }, (_, i) => i + 1))
    const createdAt = new Map(rung.map(({ inbox }) => [inbox.seq, inbox.createdAt]))
    for (const { inbox, news } of rung) {
      if (news.kind !== 'received') continue
      expect(inbox.createdAtBefore).toBe(createdAt.get(inbox.seq - news.notifications.length) ?? null)
    }
  })

  test('a doorbell that comes a second time, or late, reads nothing', async () => {
    const held: Doorbell[] = []
    tamper = (doorbell) => {
      held.push(doorbell)
      return [doorbell, doorbell]
    }
    const stream = await subscribe('inboxEvents')
    const ids: string[] = []
    for (let i = 0; i < 5; i++) ids.push((await slice.send('service', input())).notification.id)
    await slice.acknowledge(userId, 'read', { ids })
    const read = vi.spyOn(slice.log, 'read')
    expect((await take(stream, 7)).filter(isReceived)).toHaveLength(5)
    tamper = (doorbell) => [doorbell]
    await slice.bus.publish(held.splice(0).map((message) => ({ userId, message })))
    await slice.tailCheck.checkAll()
    await sendEach(1)
    expect((await take(stream, 1)).filter(isReceived)).toHaveLength(1)
    expect(read).not.toHaveBeenCalled()
  })
})
