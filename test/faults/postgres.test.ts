// PostgreSQL goes away in every way there is, and slows down. Nobody is cut off, nothing is accepted that isn't kept, no
// send is refused for good, and everything goes on as soon as it is back.
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { queuedMsMax, waitingCharactersMax, waitingItemsMax } from '../../src/notifications/group-commit.ts'
import { connectTimeoutMs, poolConnectionsMax, queryTimeoutMs } from '../../src/postgres.ts'
import type { Sabotage } from '../support/built.ts'
import { serviceToken, tokenFor } from '../support/server.ts'
import { type FaultFleet, startFaultFleet } from './support/fleet.ts'
import { figure, sized } from './support/scale.ts'
import { collectsWhenAsked, heldMemory } from './support/watch.ts'
import { flawless, quantile, Workload } from './support/workload.ts'
import { post } from './support/writers.ts'

/** The first send is accepted within this time of its return. */
const returnMsMax = 2_000
/** The program's own, or what a short form can wait for: in the queue, then for a connection, then for the statement. */
const deadlines = sized(
  { queuedMs: 1_000, connectMs: 1_000, queryMs: 1_500 },
  { queuedMs: queuedMsMax, connectMs: connectTimeoutMs, queryMs: queryTimeoutMs },
)
/** What a send, and what a mark or a retraction may take until it fails. */
const sendMsMax = deadlines.queuedMs + deadlines.connectMs + deadlines.queryMs
const markMsMax = deadlines.connectMs + deadlines.queryMs
const shorterDeadlines: Sabotage[] = [
  deadline('notifications/group-commit.js', 'queuedMsMax = 5_000', deadlines.queuedMs),
  deadline('postgres.js', 'connectTimeoutMs = 5_000', deadlines.connectMs),
  deadline('postgres.js', 'queryTimeoutMs = 12_000', deadlines.queryMs),
]
/** What a loaded machine adds to the bounds. */
const slackMs = 1_000
const requestMsMax = 30_000
/** Refused at once and tried again, more would do nothing but keep the machine busy. */
const underWayMax = 100
/** What a statement of small notifications takes some seconds to get through. */
const slowBytesPerSecond = 32 * 1024
/** How much more is offered once the queue is full, in queues of that size: many times what may be held. */
const offeredMore = sized(2, 10)
const offerEveryMs = 100
const waiting = { timeout: 10_000, interval: 20 }

let fleet: FaultFleet
beforeAll(async () => {
  fleet = await startFaultFleet({ nodeArguments: { 0: collectsWhenAsked } })
})
afterAll(() => fleet[Symbol.asyncDispose]())

test('PostgreSQL killed: what was accepted is kept, mutations are UNAVAILABLE meanwhile, and sockets stay open', async () => {
  await using workload = await Workload.start({ fleet, underWayMax, withdrawOneOf: 5 })
  const { writers } = workload
  await sleep(sized(300, 3_000))
  await fleet.postgres.kill()
  await sleep(sized(300, 4_000))
  expect(new Set((await outcomesOfMutations(fleet)).map(({ code }) => code))).toEqual(new Set(['UNAVAILABLE']))
  await sleep(sized(300, 4_000))
  const startedAt = performance.now()
  await fleet.postgres.start()
  const backAt = performance.now()
  await sleep(sized(300, 5_000))
  expect(await workload.verdict()).toEqual(flawless)
  const firstMs = Math.max(0, firstAcceptedAt(workload, startedAt) - backAt)
  figure('8. PostgreSQL killed', {
    refused: writers.failedMs.length,
    'slowest of them ms': Math.max(...writers.failedMs),
    'first accepted ms after its return': firstMs,
  })
  expect([...writers.failures.keys()]).toEqual(['UNAVAILABLE'])
  expect(firstMs).toBeLessThan(returnMsMax)
  expect(await notKept(fleet, workload)).toEqual([])
  expect(closings(workload)).toEqual(new Set())
})

// In the short form by a program with shorter deadlines, so that these are reached.
let silenced: FaultFleet
beforeAll(async () => {
  silenced = sized(await startFaultFleet({ sabotage: shorterDeadlines }), fleet)
})
afterAll(() => silenced[Symbol.asyncDispose]())

const silences = [
  {
    what: 'frozen',
    firstMsMax: returnMsMax,
    async begin() {
      await silenced.postgres.freeze()
      return () => silenced.postgres.thaw()
    },
  },
  {
    what: 'cut off without a word in both directions',
    firstMsMax: returnMsMax,
    async begin() {
      const lifts = silenced.instances.map(({ postgres }) => postgres.impair({ blackhole: true }))
      return async () => {
        for (const lift of lifts) lift()
      }
    },
  },
]

/** As where a firewall forgot them. The servers find that out by their deadlines, which takes longer than a short form. */
const forgotten = {
  what: 'cut off without a word, and its connections for ever',
  firstMsMax: deadlines.connectMs + returnMsMax,
  async begin() {
    const lifts = silenced.instances.map(({ postgres }) => postgres.impair({ blackhole: true }))
    return async () => {
      for (const { postgres } of silenced.instances) postgres.impair({ blackhole: true, isOld: true })
      for (const lift of lifts) lift()
    }
  },
}

const silentMs = sized(3_000, 30_000)

for (const { what, firstMsMax, begin } of sized(silences, [...silences, forgotten])) {
  test(`PostgreSQL ${what}: mutations fail within their deadline, and afterwards every connection is usable`, async () => {
    await using workload = await Workload.start({ fleet: silenced, underWayMax: 5 * underWayMax })
    const { writers } = workload
    await sleep(sized(300, 2_000))
    const end = await begin()
    const [marks] = await Promise.all([outcomesOfMutations(silenced), sleep(silentMs)])
    const refusedMeanwhile = writers.failedMs.length
    const endedAt = performance.now()
    await end()
    await vi.waitFor(() => expect(firstAcceptedAt(workload, endedAt)).toBeLessThan(Number.POSITIVE_INFINITY), waiting)
    const refused = writers.failedMs.length
    // Where the connections are the same ones as before, sooner than a single dead one among them would allow.
    const usable = async () => expect(await codesOfQueries(silenced, workload)).toEqual(new Set(['none']))
    const soon = { timeout: deadlines.queryMs - 100, interval: 10 }
    await vi.waitFor(usable, firstMsMax > returnMsMax ? waiting : soon)
    await sleep(sized(300, 5_000))
    expect(await workload.verdict()).toEqual(flawless)
    const slowestMs = Math.max(0, ...writers.failedMs)
    const firstMs = firstAcceptedAt(workload, endedAt) - endedAt
    figure(`9. PostgreSQL ${what}`, {
      refused,
      'slowest of them ms': slowestMs,
      'slowest mark ms': Math.max(...marks.map(({ ms }) => ms)),
      'refused after its return': writers.failedMs.length - refused,
      'first accepted ms after its return': firstMs,
    })
    expect(refusedMeanwhile).toBeGreaterThan(0)
    expect(slowestMs).toBeLessThan(sendMsMax + slackMs)
    expect(new Set(marks.map(({ code }) => code))).toEqual(new Set(['UNAVAILABLE']))
    expect(Math.max(...marks.map(({ ms }) => ms))).toBeLessThan(markMsMax + slackMs)
    expect([...writers.failures.keys()].filter((code) => code !== 'UNAVAILABLE')).toEqual([])
    expect(firstMs).toBeLessThan(firstMsMax)
    expect(await notKept(silenced, workload)).toEqual([])
    expect(closings(workload)).toEqual(new Set())
    await vi.waitFor(async () => expect(await stuckConnections(silenced)).toEqual([]), waiting)
  })
}

test('PostgreSQL away while clients subscribe: they are sent away with 1013, and have everything once it is back', async () => {
  const readers = [{ kind: 'notifications' }, { kind: 'inboxEvents' }, { resumes: false }] as const
  await using workload = await Workload.start({ fleet, users: 5, readers })
  await sleep(sized(300, 2_000))
  await fleet.postgres.kill()
  const cutAt = performance.now()
  for (const reader of workload.readers) reader.cut()
  const sentAway = () => workload.readers.filter(({ closings }) => closings.has(1013)).length
  await vi.waitFor(() => expect(sentAway()).toBe(workload.readers.length), waiting)
  const sentAwayMs = performance.now() - cutAt
  await sleep(sized(300, 5_000))
  await fleet.postgres.start()
  await sleep(sized(300, 3_000))
  expect(await workload.verdict()).toEqual(flawless)
  figure('6b. PostgreSQL away while clients subscribe', { 'all sent away after ms': sentAwayMs })
  // 1006 is what a cut is seen as.
  expect(closings(workload)).toEqual(new Set([1006, 1013]))
})

/** What waits is held as it was parsed and as it will go, and as the requests that are being answered: `heldMibMax`. */
const manySmall = {
  limit: 'items',
  batchItems: 1_000,
  content: { title: 't' },
  batches: waitingItemsMax / 1_000,
  heldMibMax: 60,
}
/** As large as they may be, and as many as fit into one request. */
const fewLarge = {
  limit: 'characters',
  batchItems: 100,
  content: { title: 't', body: 'b'.repeat(4_000), data: { d: 'd'.repeat(16_000) } },
  batches: waitingCharactersMax / 100 / 20_000,
  heldMibMax: 200,
}

for (const { limit, batchItems, content, batches, heldMibMax } of sized([manySmall], [manySmall, fewLarge])) {
  test(`PostgreSQL slow: too many ${limit} to send are UNAVAILABLE at once, and memory stays bounded`, async () => {
    await using workload = await Workload.start({ fleet, perSecond: 20 })
    const instance = fleet.instance(0)
    const heldBefore = await heldMemory(instance)
    const outcomes = { accepted: 0, refused: 0, late: 0, unknown: 0 }
    const lifts = fleet.instances.map(({ postgres }) => postgres.impair({ bytesPerSecond: slowBytesPerSecond }))
    const token = await serviceToken()
    const inputs = Array.from({ length: batchItems }, (_, item) => ({ ...content, userId: `${limit}-${item}` }))
    const refusedMs: number[] = []
    const send = async () => {
      const sentAt = performance.now()
      const { data } = await post<SentMany>(instance.url, token, sendMany, { inputs }, requestMsMax)
      const ends = (data?.sendNotifications ?? []).map(({ error }) => outcomeOf(error?.message))
      for (const end of ends) outcomes[end]++
      if (ends.every((end) => end === 'refused')) refusedMs.push(performance.now() - sentAt)
    }
    const sends: Promise<void>[] = []
    const offerUntil = async (isEnough: () => boolean) => {
      while (!isEnough()) {
        sends.push(send())
        await sleep(offerEveryMs)
      }
    }
    let heldFull = 0
    let heldLater = 0
    try {
      await offerUntil(() => outcomes.refused > 0)
      heldFull = (await heldMemory(instance)) - heldBefore
      const enough = sends.length + offeredMore * batches
      await offerUntil(() => sends.length >= enough)
      heldLater = (await heldMemory(instance)) - heldBefore
    } finally {
      for (const lift of lifts) lift()
      await Promise.all(sends)
    }
    refusedMs.sort((a, b) => a - b)
    expect(await workload.verdict()).toEqual(flawless)
    figure(`24. PostgreSQL slow, too many ${limit}`, {
      'requests offered': sends.length,
      'refused at once': refusedMs.length,
      'median ms': quantile(refusedMs, 0.5),
      'p99 ms': quantile(refusedMs, 0.99),
      'held when full MiB': heldFull,
      'held later MiB': heldLater,
    })
    expect(refusedMs.length).toBeGreaterThan(sends.length / 4)
    expect(quantile(refusedMs, 0.99)).toBeLessThan(slackMs)
    expect(Math.max(heldFull, heldLater)).toBeLessThan(heldMibMax)
    const count = 'select count(*)::int as count from notifications where user_id like $1'
    const [kept] = await fleet.postgres.query<{ count: number }>(count, [`${limit}-%`])
    expect(kept?.count).toBeGreaterThanOrEqual(outcomes.accepted)
    expect(kept?.count).toBeLessThanOrEqual(outcomes.accepted + outcomes.unknown)
  })
}

/** By what the caller is told. What was refused or late is surely not kept. */
function outcomeOf(message: string | undefined): 'accepted' | 'refused' | 'late' | 'unknown' {
  if (message === undefined) return 'accepted'
  if (/too many sends are waiting/.test(message)) return 'refused'
  return /not keeping up/.test(message) ? 'late' : 'unknown'
}

/** Of the first send that was accepted after this. */
function firstAcceptedAt({ writers }: Workload, after: number): number {
  return Math.min(...writers.accepted.map(({ acceptedAt }) => acceptedAt).filter((at) => at > after))
}

/** What of the accepted is not in the log, or under another number. */
async function notKept({ postgres }: FaultFleet, { writers, userIds }: Workload): Promise<string[]> {
  const rows = await postgres.query<{ id: string; seq: string }>(
    'select id, seq from notifications where user_id = any($1)',
    [userIds],
  )
  const kept = new Map(rows.map(({ id, seq }) => [id, Number(seq)]))
  return writers.accepted.filter(({ id, seq }) => kept.get(id) !== seq).map(({ title }) => title)
}

/** Codes that connections of readers were closed with. */
function closings({ readers }: Workload): Set<number> {
  return new Set(readers.flatMap(({ closings }) => [...closings.keys()]))
}

/** How each mutation that is no send ends at each instance. */
async function outcomesOfMutations({ instances }: FaultFleet): Promise<{ code: string; ms: number }[]> {
  const token = await serviceToken()
  const arguments_ = '(ids: ["0198d5d6-0000-7000-8000-000000000000"]) { inbox { unreadCount } }'
  const mutations = [
    ...['markDelivered', 'markSeen', 'markRead', 'markUnread', 'archiveNotifications', 'unarchiveNotifications'].map(
      (name) => `mutation { ${name}${arguments_} }`,
    ),
    'mutation { retractNotification(id: "0198d5d6-0000-7000-8000-000000000000") }',
  ]
  return outcomesOf(instances.flatMap(({ url }) => mutations.map((text) => ({ url, token, text }))))
}

/** How reads end, enough at once at each instance to need all connections of its pool. */
async function codesOfQueries({ instances }: FaultFleet, { userIds: [userId = ''] }: Workload): Promise<Set<string>> {
  const token = await tokenFor(userId)
  const text = 'query { inbox { unreadCount } }'
  const queries = Array.from({ length: 2 * poolConnectionsMax }, () => text)
  const outcomes = await outcomesOf(instances.flatMap(({ url }) => queries.map((text) => ({ url, token, text }))))
  return new Set(outcomes.map(({ code }) => code))
}

/** All at once. */
function outcomesOf(requests: { url: string; token: string; text: string }[]) {
  return Promise.all(
    requests.map(async ({ url, token, text }) => {
      const askedAt = performance.now()
      const { errors } = await post(url, token, text, {}, requestMsMax)
      return { code: errors?.[0]?.extensions.code ?? 'none', ms: performance.now() - askedAt }
    }),
  )
}

function deadline(file: string, find: string, ms: number): Sabotage {
  return { file, find, replace: find.replace(/\d[\d_]*$/, String(ms)) }
}

/** Connections of the servers in which something still runs. */
async function stuckConnections({ postgres }: FaultFleet): Promise<string[]> {
  const rows = await postgres.query<{ state: string; query: string; seconds: number }>(
    `select state, query, extract(epoch from clock_timestamp() - state_change)::float8 as seconds
      from pg_stat_activity where application_name = 'carillon'`,
  )
  const stuck = rows.filter(({ state, seconds }) => state !== 'idle' && seconds > 1)
  return stuck.map(({ state, query, seconds }) => `${state} for ${seconds} s: ${query}`)
}

interface SentMany {
  sendNotifications: { payload: object | null; error: { code: string; message: string } | null }[]
}

const sendMany = `mutation ($inputs: [SendNotificationInput!]!) {
  sendNotifications(inputs: $inputs) { payload { duplicate } error { code message } }
}`
