// A backup of PostgreSQL is restored under running servers and clients: the logs go back, and their numbers are given out
// a second time. Who has seen more than the backup knows is told so, and never steps silently over what came since.
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { rotateEpoch } from '../../src/notifications/epoch.ts'
import { connectPostgres } from '../../src/postgres.ts'
import { request, tokenFor } from '../support/server.ts'
import { sendBatch } from './support/batch.ts'
import { type FaultFleet, startFaultFleet } from './support/fleet.ts'
import { Reader, type ReaderKind } from './support/reader.ts'
import { figure, sized } from './support/scale.ts'
import { flawless, Workload } from './support/workload.ts'

const kinds: readonly ReaderKind[] = ['notifications', 'inboxEvents']
/** Places of instances: one for the sends, one that looks for lost doorbells often, one that does not while a test lasts. */
const [sender, watchful, trusting] = [0, 1, 2] as const
const tailCheckMs = 500
const seldomMs = 60_000
/** What a loaded machine adds to the bounds, with the new connections to PostgreSQL. */
const slackMs = 2_000
/** Of each user: sent before the backup, acknowledged of these, and sent between it and the restore. */
const keptCount = 5
const acknowledgedCount = 2
const lostCount = sized(5, 150)
/** Under load each has to have seen more than the backup knows, also what was on its way when that was made. */
const lostCountMin = 5

let fleet: FaultFleet
beforeAll(async () => {
  fleet = await startFaultFleet({
    instances: 3,
    env: { CARILLON_TAIL_CHECK_MS: String(tailCheckMs) },
    instanceEnv: { [trusting]: { CARILLON_TAIL_CHECK_MS: String(seldomMs) } },
  })
})
afterAll(() => fleet[Symbol.asyncDispose]())

test('the head goes back, and nothing comes after it: whoever has seen more is told', async () => {
  await using user = await User.prepare('quiet', watchful)
  await restore()
  const toldMs = await figureTold('nothing comes after', user)
  expect(toldMs).toBeLessThan(tailCheckMs + slackMs)
  await user.expectEarlyGoesOn([])
  await user.expectAnew([])
})

test('the head goes back and on beyond the old one, unheard: whoever has seen more is told', async () => {
  await using user = await User.prepare('unheard', watchful)
  // So that it sees nothing of what happens meanwhile.
  fleet.instance(watchful).freeze()
  await restore()
  muteSender()
  const anew = await user.send('anew', lostCount + 2)
  fleet.instance(watchful).thaw()
  await figureTold('unheard', user)
  await unmuteSender()
  await user.expectEarlyGoesOn(anew)
  await user.expectAnew(anew)
})

test('the head goes back and on to the old one, and the next is heard of at once: whoever has seen more is told', async () => {
  await using user = await User.prepare('heard', trusting)
  await restore()
  muteSender()
  const anew = await user.send('anew', lostCount)
  await unmuteSender()
  anew.push(...(await user.send('next', 1)))
  await figureTold('heard', user)
  await user.expectEarlyGoesOn(anew)
  await user.expectAnew(anew)
})

test('another epoch: whoever held a cursor is told, also one that the backup knows', async () => {
  await using user = await User.prepare('epoch', watchful, 0)
  await restore(changeEpoch)
  const anew = await user.send('anew', 2)
  await figureTold('another epoch', user)
  await user.expectAnew(anew)
})

test.each(sized(['without'], ['without', 'with']))(
  'under load, %s another epoch: no stream steps over anything',
  async (how) => {
    const users = sized(5, 10)
    await using workload = await Workload.start({ fleet, users, perSecond: 100, underWayMax: 20 })
    await sleep(300)
    await fleet.postgres.stop()
    await fleet.postgres.backUp()
    const had = workload.readers.map(({ received }) => received.length)
    await fleet.postgres.start()
    await vi.waitFor(() => {
      for (const [index, { received }] of workload.readers.entries())
        expect(received.length).toBeGreaterThan((had[index] ?? 0) + lostCountMin)
    }, 20_000)
    await sleep(sized(0, 3_000))
    await restore(how === 'with' ? changeEpoch : undefined)
    const backAt = performance.now()
    await vi.waitFor(() => {
      for (const { finals } of workload.readers) expect(finals).toEqual(['CURSOR_INVALID'])
    }, tailCheckMs + seldomMs)
    const toldMs = performance.now() - backAt
    await sleep(sized(300, 3_000))
    const verdict = await workload.verdict(0)
    // What the backup does not have is lost, and each stream was ended: both is what has happened.
    expect({ ...verdict, lost: [], defects: [] }).toEqual(flawless)
    expect(workload.writers.defects).toEqual([])
    expect(fleet.instances.flatMap(({ defects }) => defects)).toEqual([])
    figure(`23. under load, ${how} another epoch`, { 'all told after ms': toldMs })

    const logs = await fleet.postgres.query<{ id: string; userId: string; seq: number }>(
      'select id, user_id as "userId", seq from notifications where user_id = any($1) order by seq',
      [workload.userIds],
    )
    for (const { userId, received } of workload.readers) {
      // What it got is of the old log, whose numbers it has all; none of the new one is among them.
      const idAt = new Map(logs.filter((row) => row.userId === userId).map(({ seq, id }) => [seq, id]))
      const left = received.findIndex(({ seq, id }) => idAt.get(seq) !== id)
      expect(left).toBeGreaterThan(0)
      expect(received.slice(left).filter(({ seq, id }) => idAt.get(seq) === id)).toEqual([])
      expect(received.map(({ seq }) => seq)).toEqual(received.map((_, index) => index + 1))
      using anew = new Reader({ userId, token: await tokenFor(userId), nextUrl: () => fleet.instance(watchful).url })
      await vi.waitFor(() => expect(anew.received.map(({ id }) => id)).toEqual([...idAt.values()]), 5_000)
    }
    await using after = await Workload.start({ fleet, users })
    expect(await after.verdict()).toEqual(flawless)
  },
)

async function figureTold(how: string, user: User): Promise<number> {
  const from = performance.now()
  await user.expectTold()
  const toldMs = performance.now() - from
  figure(`23. the head goes back, ${how}`, { 'all told after ms': toldMs })
  return toldMs
}

/** A user of whom the backup knows the beginning, and their clients. */
class User implements AsyncDisposable {
  readonly userId: string
  readonly #place: number
  readonly #readers: Reader[] = []
  /** They stay while the backup is restored. */
  #connected: Reader[] = []
  /** They leave before it is restored, and come back afterwards. */
  #away: Reader[] = []
  /** It leaves before the backup is made. */
  #early: Reader | undefined
  #kept: string[] = []

  /** The backup is made here. */
  static async prepare(name: string, place: number, count = lostCount): Promise<User> {
    const user = new User(`restored-${name}`, place)
    user.#kept = await user.send('kept', keptCount)
    await user.#acknowledge(acknowledgedCount)
    const early = await user.#read('inboxEvents')
    await vi.waitFor(() => expect(titles(early)).toEqual(user.#kept.slice(acknowledgedCount)), 5_000)
    early.close()
    user.#early = early
    await fleet.postgres.stop()
    await fleet.postgres.backUp()
    await fleet.postgres.start()
    user.#connected = await Promise.all(kinds.map((kind) => user.#read(kind)))
    user.#away = await Promise.all(kinds.map((kind) => user.#read(kind)))
    const lost = count > 0 ? await user.send('lost', count) : []
    const all = [...user.#kept.slice(acknowledgedCount), ...lost]
    await vi.waitFor(() => {
      for (const reader of [...user.#connected, ...user.#away]) expect(titles(reader)).toEqual(all)
    }, 10_000)
    for (const reader of user.#away) reader.close()
    return user
  }

  private constructor(userId: string, place: number) {
    this.userId = userId
    this.#place = place
  }

  /** Returns the titles. */
  async send(name: string, count: number): Promise<string[]> {
    const { userId } = this
    const inputs = Array.from({ length: count }, (_, index) => ({ userId, title: `${userId}/${name}-${index + 1}` }))
    await sendBatch(fleet.instance(sender).url, inputs)
    return inputs.map(({ title }) => title)
  }

  /** That their clients, connected and coming back, get CURSOR_INVALID, and nothing of what came after the restore. */
  async expectTold(): Promise<void> {
    const had = this.#connected.map(({ received }) => received.length)
    const back = await Promise.all(this.#away.map(({ options, cursor }) => this.#read(options.kind, cursor)))
    await vi.waitFor(() => {
      for (const { finals } of [...this.#connected, ...back]) expect(finals).toEqual(['CURSOR_INVALID'])
    }, 10_000)
    expect(this.#connected.map(({ received }) => received.length)).toEqual(had)
    for (const reader of back) expect(titles(reader)).toEqual([])
  }

  /** That a client whose cursor the backup knows goes on. */
  async expectEarlyGoesOn(anew: readonly string[]): Promise<void> {
    const early = await this.#read('inboxEvents', this.#early?.cursor)
    await vi.waitFor(() => expect(titles(early)).toEqual(anew), 5_000)
    expect(early.finals).toEqual([])
  }

  /** That a client without a cursor gets all that nobody has acknowledged. */
  async expectAnew(anew: readonly string[]): Promise<void> {
    const fresh = await Promise.all(kinds.map((kind) => this.#read(kind)))
    await vi.waitFor(() => {
      for (const reader of fresh) expect(titles(reader)).toEqual([...this.#kept.slice(acknowledgedCount), ...anew])
    }, 5_000)
    expect(this.#readers.flatMap(({ defects }) => defects)).toEqual([])
    expect(fleet.instances.flatMap(({ defects }) => defects)).toEqual([])
    await using workload = await Workload.start({ fleet, users: 2 })
    expect(await workload.verdict()).toEqual(flawless)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const reader of this.#readers) reader.close()
  }

  async #read(kind: ReaderKind = 'notifications', after: string | null = null): Promise<Reader> {
    const { userId } = this
    const nextUrl = () => fleet.instance(this.#place).url
    const reader = new Reader({ userId, token: await tokenFor(userId), kind, after, nextUrl })
    this.#readers.push(reader)
    return reader
  }

  async #acknowledge(count: number): Promise<void> {
    const text = `mutation ($upTo: String) { markDelivered(upTo: $upTo) { count } }`
    const page = `{ history(last: ${count}) { edges { cursor } } }`
    const token = await tokenFor(this.userId)
    const { url } = fleet.instance(sender)
    const { data } = await request<{ history: { edges: { cursor: string }[] } }>(url, token, page)
    const answer = await request(url, token, text, { upTo: data?.history.edges[0]?.cursor })
    expect(answer.data).toEqual({ markDelivered: { count } })
  }
}

const titles = ({ received }: Reader) => received.map(({ title }) => title)

/** As somebody does it who leaves the servers running. They don't reach it before `prepareIt` is done. */
async function restore(prepareIt?: () => Promise<unknown>): Promise<void> {
  await fleet.postgres.stop()
  await fleet.postgres.restore()
  for (const { postgres } of fleet.instances) postgres.refuse()
  try {
    await fleet.postgres.start()
    await prepareIt?.()
  } finally {
    for (const { postgres } of fleet.instances) postgres.accept()
  }
}

async function changeEpoch(): Promise<void> {
  const database = connectPostgres(fleet.postgres.url, pino({ level: 'silent' }))
  await rotateEpoch(database).finally(() => database.close())
}

/** What it sends is not heard of by the others. */
function muteSender(): void {
  const { redis } = fleet.instance(sender)
  redis.refuse()
  redis.cut()
}

async function unmuteSender(): Promise<void> {
  const { redis, directUrl } = fleet.instance(sender)
  redis.accept()
  await vi.waitFor(async () => {
    const { degraded } = await (await fetch(`${directUrl}/readyz`)).json()
    expect(degraded).toEqual({})
  }, 10_000)
}
