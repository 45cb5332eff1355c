import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createAcknowledge } from '../../src/notifications/acknowledge.ts'
import { readInbox } from '../../src/notifications/inbox.ts'
import { type Mark, type MarkRow, markByIds } from '../../src/notifications/marks.ts'
import type { Notification } from '../../src/notifications/notification.ts'
import { createRetract } from '../../src/notifications/retract.ts'
import { createSweep } from '../../src/notifications/sweep.ts'
import { dayMs, doorbells, fill, makeExpired, makeOlder, miscounted } from '../support/log.ts'
import { createSlice, input, retentionMs, type Slice } from '../support/slice.ts'

let slice: Slice
beforeEach(async () => {
  slice = await createSlice()
})
afterEach(() => slice[Symbol.asyncDispose]())

const newUser = () => `user-${randomUUID()}`
const sweepOf = ({ database, bus }: Slice, retention = retentionMs) =>
  createSweep({ database, bus, retentionMs: retention })

async function retainedFrom(): Promise<number> {
  const { rows } = await sql<{ at: Date }>`select retained_from as at from carillon_state`.execute(
    slice.database.kysely,
  )
  return rows[0]?.at.getTime() ?? 0
}

describe('expiry', () => {
  test('comes off the counters once, and tells the user which', async () => {
    const userId = newUser()
    const sent = await fill(slice, userId, 3)
    await makeExpired(slice.database, userId, 2)
    const rung = doorbells(slice.bus, userId)
    const sweep = sweepOf(slice)
    await sweep.run()
    await sweep.run()
    const inbox = await readInbox(slice.database, userId)
    expect(inbox).toMatchObject({ undelivered: 1, unseen: 1, unread: 1, stateVersion: 1 })
    expect(rung).toEqual([{ inbox, news: { kind: 'removed', ids: [sent[1]?.id, sent[0]?.id], bumps: 1 } }])
    expect(await miscounted(slice.database)).toEqual([])
  })

  test('subtracts no state that was set, nothing archived, nothing retracted; says nothing of what was hidden', async () => {
    const userId = newUser()
    const [delivered, read, archived, retracted] = await fill(slice, userId, 4)
    await slice.acknowledge(userId, 'delivered', { ids: [delivered?.id ?? ''] })
    await slice.acknowledge(userId, 'read', { ids: [read?.id ?? ''] })
    await slice.acknowledge(userId, 'archived', { ids: [archived?.id ?? ''] })
    await slice.retract(retracted?.id ?? '')
    await makeExpired(slice.database, userId, 4)
    const rung = doorbells(slice.bus, userId)
    await sweepOf(slice).run()
    expect(rung.map(({ news }) => news)).toEqual([
      { kind: 'removed', ids: [archived?.id, read?.id, delivered?.id], bumps: 1 },
    ])
    expect(await readInbox(slice.database, userId)).toMatchObject({
      undelivered: 0,
      unseen: 0,
      unread: 0,
      stateVersion: 5,
    })
  })

  test('of more than a batch: everything is swept, and more than 100 at once are not listed', async () => {
    const users = [newUser(), newUser(), newUser()]
    for (const userId of users) {
      await fill(slice, userId, 400)
      await makeExpired(slice.database, userId, 400)
    }
    const rung = users.map((userId) => doorbells(slice.bus, userId))
    await sweepOf(slice).run()
    for (const [index, userId] of users.entries()) {
      const inbox = await readInbox(slice.database, userId)
      expect(inbox).toMatchObject({ undelivered: 0, unseen: 0, unread: 0 })
      const mine = rung[index] ?? []
      expect(mine.at(-1)?.inbox).toEqual(inbox)
      expect(mine.length).toBe(inbox.stateVersion)
      expect(
        mine.every(({ news }) => news.kind === 'changed' || (news.kind === 'removed' && news.ids.length <= 100)),
      ).toBe(true)
    }
  })
})

describe('retention', () => {
  test('comes off the counters once, for those whose counters it changes', async () => {
    const [reader, idler] = [newUser(), newUser()]
    const [read] = await fill(slice, reader, 1)
    await fill(slice, idler, 3)
    await slice.acknowledge(reader, 'read', { ids: [read?.id ?? ''] })
    await makeOlder(slice.database, reader, 1, retentionMs + 2_000)
    await makeOlder(slice.database, idler, 2, retentionMs + 2_000)
    const rung = [doorbells(slice.bus, reader), doorbells(slice.bus, idler)]
    const sweep = sweepOf(slice)
    await sweep.run()
    await sweep.run()
    const inbox = await readInbox(slice.database, idler)
    expect(inbox).toMatchObject({ undelivered: 1, unseen: 1, unread: 1, stateVersion: 1 })
    expect(rung).toEqual([[], [{ inbox, news: { kind: 'changed', bumps: 1 } }]])
    expect(await miscounted(slice.database)).toEqual([])
  })

  test('catches up over weeks, in batches, to a moment ago, and never over what is still to be seen', async () => {
    const userId = newUser()
    await fill(slice, userId, 1_400)
    await makeOlder(slice.database, userId, 1_300, retentionMs - dayMs)
    await makeOlder(slice.database, userId, 1_200, 2 * dayMs)
    await makeOlder(slice.database, userId, 600, 20 * dayMs)
    await makeOlder(slice.database, userId, 50, dayMs / 2)
    await sweepOf(slice).run()
    expect(await readInbox(slice.database, userId)).toMatchObject({ undelivered: 200, unseen: 200, unread: 200 })
    const behindMs = Date.now() - retentionMs - (await retainedFrom())
    expect(behindMs).toBeGreaterThan(900)
    expect(behindMs).toBeLessThan(5_000)
    expect(await miscounted(slice.database)).toEqual([])
  })

  test('steps over nobody, wherever between two milliseconds it stops', async () => {
    const userId = newUser()
    await fill(slice, userId, 3_000)
    await makeOlder(slice.database, userId, 0, 0)
    const sweep = sweepOf(slice)
    await sweep.run()
    // One in each millisecond that retention passes in the next seconds.
    await sql`update notifications
      set created_at = now() + (seq - 1000 - ${retentionMs}::float8) * interval '1 millisecond'`.execute(
      slice.database.kysely,
    )
    for (let run = 0; run < 15; run++) await sweep.run()
    expect((await readInbox(slice.database, userId)).unread).toBeLessThan(3_000)
    expect(await miscounted(slice.database)).toEqual([])
  })

  test('never goes back where the retention time was raised', async () => {
    const userId = newUser()
    await fill(slice, userId, 2)
    await makeOlder(slice.database, userId, 1, 2 * dayMs)
    await sweepOf(slice, dayMs).run()
    const before = await retainedFrom()
    await sweepOf(slice).run()
    expect(await retainedFrom()).toBe(before)
    expect(await readInbox(slice.database, userId)).toMatchObject({ unread: 1, stateVersion: 1 })
  })

  test('and expiry subtract the same one once', async () => {
    const userId = newUser()
    await fill(slice, userId, 3)
    await makeOlder(slice.database, userId, 2, retentionMs + 2_000)
    await sweepOf(slice).run()
    await makeExpired(slice.database, userId, 3)
    await sweepOf(slice).run()
    expect(await readInbox(slice.database, userId)).toMatchObject({ undelivered: 0, unseen: 0, unread: 0 })
  })
})

test('forgets idempotency keys after a day, in batches', async () => {
  const { database } = slice
  const insert = (count: number, age: string) =>
    sql`insert into idempotency_keys (sender, operation, key, user_id, hash, id, at)
    select 'service', 'sendNotification', ${age} || i, 'alice', '', gen_random_uuid(), now() - ${age}::interval
    from generate_series(1, ${count}) i`.execute(database.kysely)
  await insert(1_100, '24 hours 1 minute')
  await insert(3, '23 hours 59 minutes')
  await sweepOf(slice).run()
  const { rows } = await sql<{ n: string }>`select count(*) as n from idempotency_keys`.execute(database.kysely)
  expect(rows[0]?.n).toBe('3')
})

test('one that meets another sweeper leaves the work to it', async () => {
  const userId = newUser()
  await fill(slice, userId, 1)
  await makeExpired(slice.database, userId, 1)
  await slice.database.kysely.transaction().execute(async (tx) => {
    await sql`select from carillon_state for update`.execute(tx)
    await sweepOf(slice).run()
    expect(await readInbox(slice.database, userId)).toMatchObject({ unread: 1 })
  })
  await sweepOf(slice).run()
  expect(await readInbox(slice.database, userId)).toMatchObject({ unread: 0 })
})

describe('a mark that found its row before it was swept, and locks its inbox after', () => {
  // The statement itself, with a rest between the search and the locks; its snapshot is from before.
  const restMs = 2_000
  async function markSlowly(id: string): Promise<number | undefined> {
    const slowly = markByIds.read.replace(
      'from notifications where',
      `from pg_sleep(${restMs / 1000}), notifications where`,
    )
    expect(slowly).not.toBe(markByIds.read)
    const values = [retentionMs, userId, [id]]
    return (await slice.database.query<MarkRow>('mark-slowly', slowly, values))[0]?.count
  }
  let userId: string
  beforeEach(async () => {
    userId = newUser()
    await fill(slice, userId, 2)
    await makeOlder(slice.database, userId, 0, 0)
  })

  test('leaves alone what expired meanwhile', async () => {
    await sql`update notifications set expires_at = clock_timestamp() + interval '300 milliseconds' where seq = 1`.execute(
      slice.database.kysely,
    )
    const marked = markSlowly(await idOfFirst())
    await vi.waitFor(async () => {
      await sweepOf(slice).run()
      expect((await readInbox(slice.database, userId)).unread).toBe(1)
    }, restMs)
    expect(await marked).toBe(0)
    expect(await miscounted(slice.database)).toEqual([])
  })

  test('leaves alone what passed the retention time meanwhile', async () => {
    await makeOlder(slice.database, userId, 1, retentionMs - 300)
    const marked = markSlowly(await idOfFirst())
    // Retention stays a second behind the clock; this one is ahead of the other's by as much.
    await vi.waitFor(async () => {
      await sweepOf(slice, retentionMs - 1_000).run()
      expect((await readInbox(slice.database, userId)).unread).toBe(1)
    }, restMs)
    expect(await marked).toBe(0)
    expect(await miscounted(slice.database)).toEqual([])
  })

  async function idOfFirst(): Promise<string> {
    const { rows } = await sql<{
      id: string
    }>`select id from notifications where user_id = ${userId} and seq = 1`.execute(slice.database.kysely)
    return rows[0]?.id ?? ''
  }
})

test('sweepers that wait for the same inbox subtract once', async () => {
  const userId = newUser()
  await fill(slice, userId, 20)
  await makeOlder(slice.database, userId, 10, retentionMs + 2_000)
  await makeExpired(slice.database, userId, 15)
  const sweeps = await slice.database.kysely.transaction().execute(async (tx) => {
    await sql`select from inboxes where user_id = ${userId} for update`.execute(tx)
    const runs = Array.from({ length: 4 }, () => sweepOf(slice).run())
    await sql`select pg_sleep(0.25)`.execute(tx)
    return runs
  })
  await Promise.all(sweeps)
  await sweepOf(slice).run()
  expect(await readInbox(slice.database, userId)).toMatchObject({ undelivered: 5, unseen: 5, unread: 5 })
  expect(await miscounted(slice.database)).toEqual([])
})

test('the counters are what the rows say, and each change rang, whatever ran at once', async () => {
  // Short, so that expiry and retention take rows away under the hands of the marks.
  const options = { database: slice.database, bus: slice.bus, retentionMs: 1_500 }
  const acknowledge = createAcknowledge(options)
  const retract = createRetract(options)
  const users = Array.from({ length: 5 }, newUser)
  const rung = new Map(users.map((userId) => [userId, doorbells(slice.bus, userId)]))
  const sent: Notification[] = []
  const any = <T>(from: readonly T[]): T | undefined => from[Math.floor(Math.random() * from.length)]
  const anyRecent = () => any(sent.slice(-150))
  const until = Date.now() + 8_000
  const repeat = async (action: () => Promise<unknown>) => {
    while (Date.now() < until) await action()
  }
  const place = ({ seq, createdAt, epoch }: Notification) => ({ seq, createdAt, epoch })

  const sending = async () => {
    const inputs = Array.from({ length: 1 + Math.floor(Math.random() * 5) }, () =>
      input({
        userId: any(users) ?? '',
        expiresAt: Math.random() < 0.4 ? Date.now() + 20 + Math.random() * 1_500 : null,
      }),
    )
    for (const { payload } of await slice.sendMany('service', inputs)) if (payload) sent.push(payload.notification)
  }
  const marking = async () => {
    const [one, other] = [anyRecent(), anyRecent()]
    if (!one || !other) throw new Error('nothing was sent')
    const mark = any<Mark>(['delivered', 'seen', 'read', 'unread', 'archived', 'unarchived']) ?? 'read'
    const { userId } = one
    const byIds = Math.random() < 0.5 || mark === 'unread' || mark === 'unarchived'
    if (byIds)
      return acknowledge(userId, mark, {
        ids: sent
          .slice(-80)
          .filter(() => Math.random() < 0.3)
          .map(({ id }) => id),
      })
    const after = userId === other.userId && Math.random() < 0.5 ? { after: place(other) } : {}
    return acknowledge(userId, mark, { upTo: place(one), ...after })
  }
  const retracting = async () => retract(anyRecent()?.id ?? '')
  const sweeps = [createSweep(options), createSweep(options)]
  await sending()
  await Promise.all([
    ...Array.from({ length: 2 }, () => repeat(sending)),
    ...Array.from({ length: 6 }, () => repeat(marking)),
    repeat(retracting),
    ...sweeps.map((sweep) => repeat(() => sweep.run())),
  ])

  expect(sent.length).toBeGreaterThan(200)
  expect(await miscounted(slice.database)).toEqual([])
  for (const [userId, mine] of rung) {
    const { stateVersion } = await readInbox(slice.database, userId)
    const covered = new Set(
      mine.flatMap(({ inbox, news }) =>
        'bumps' in news ? Array.from({ length: news.bumps }, (_, i) => inbox.stateVersion - i) : [],
      ),
    )
    expect(covered).toEqual(new Set(Array.from({ length: stateVersion }, (_, i) => i + 1)))
  }
  // In the end retention has everything, and nothing is left on any counter.
  await vi.waitFor(async () => {
    await sweeps[0]?.run()
    for (const userId of users) {
      expect(await readInbox(slice.database, userId)).toMatchObject({ undelivered: 0, unseen: 0, unread: 0 })
    }
  }, 10_000)
  expect(await miscounted(slice.database)).toEqual([])
}, 60_000)
