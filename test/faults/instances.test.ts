// Instances are killed, stopped and frozen, and readers move between them: whatever one of them knew, any other reads in the
// log, and what one of them promised stands.
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { lockTimeoutMs } from '../../src/postgres.ts'
import { RawSocket } from '../support/raw-socket.ts'
import { serviceToken } from '../support/server.ts'
import { type FaultFleet, startFaultFleet } from './support/fleet.ts'
import type { Instance } from './support/instance.ts'
import { Reader } from './support/reader.ts'
import { figure, sized } from './support/scale.ts'
import { flawless, quantile, Workload } from './support/workload.ts'
import { post } from './support/writers.ts'

/** What a loaded machine adds to the bounds. */
const slackMs = 1_500
const requestMsMax = 10_000
/** Until a case gives up waiting for a condition. */
const giveUpMs = 30_000
/** A reader may give up one attempt to connect, after 5 s, and then it is back. */
const recoveryMsMax = 10_000
const tailCheckMs = 5_000
/** Of the pace that senders are to keep, the share that they must have kept for a case to be what it says. */
const paceMin = 0.8
const drainMs = sized(1_000, 10_000)
/** How long a server waits for the closing handshakes once it has told all connections. */
const endMsMax = 5_000
/** Of the drain time, over how much the closings are spread at least, and how far from evenly, as a share of that. */
const spreadMin = 0.6
const unevennessMax = sized(0.35, 0.1)

let fleet: FaultFleet
beforeAll(async () => {
  fleet = await startFaultFleet({ instances: 3, env: { CARILLON_DRAIN_MS: String(drainMs) } })
})
afterAll(() => fleet[Symbol.asyncDispose]())

test('killed at random: readers and senders come back by themselves, to everything', { timeout: 900_000 }, async () => {
  await using workload = await Workload.start({
    fleet,
    perSecond: 100,
    withdrawOneOf: 5,
    readers: [
      { kind: 'notifications' },
      { kind: 'inboxEvents', transport: 'sse' },
      { kind: 'notifications', autoAck: true },
    ],
  })
  const kills = sized(3, 100)
  const recoveriesMs: number[] = []
  for (let kill = 0; kill < kills; kill++) {
    await sleep(Math.random() * 300)
    const victim = fleet.instance(Math.floor(Math.random() * fleet.instances.length))
    const hit = readersOf(workload, victim)
    const killedAt = performance.now()
    await victim.kill()
    const away = () => hit.filter(({ subscribedAt = 0 }) => subscribedAt < killedAt).map(({ userId }) => userId)
    const recovered = vi.waitFor(() => expect(away()).toEqual([]), { timeout: giveUpMs, interval: 10 })
    await Promise.all([recovered, victim.start()])
    recoveriesMs.push(...hit.map(({ subscribedAt = 0 }) => subscribedAt - killedAt))
  }
  expect(await workload.verdict()).toEqual(flawless)
  recoveriesMs.sort((a, b) => a - b)
  const latencies = workload.latencies()
  figure('10. Instances killed', {
    kills,
    'readers hit': recoveriesMs.length,
    'median of recovery ms': quantile(recoveriesMs, 0.5),
    'p99 of recovery ms': quantile(recoveriesMs, 0.99),
    'p99 of delivery ms': quantile(latencies, 0.99),
  })
  expect(recoveriesMs.length).toBeGreaterThan(kills)
  expect(quantile(recoveriesMs, 0.99)).toBeLessThan(recoveryMsMax)
  expect([...workload.writers.failures.keys()].filter((code) => code !== 'network')).toEqual([])
})

test('told to stop: closes one connection after the other, answers what it carries out, cuts off who is frozen', async () => {
  const [leaving, staying] = [fleet.instance(0), fleet.instance(1)]
  const sockets = sized(200, 1_000)
  let isStopping = false
  let turn = 0
  const nextUrl = () => (isStopping && turn++ % 2 === 0 ? staying : leaving).url
  await using workload = await Workload.start({
    fleet,
    users: sockets / 2,
    sendTo: [0, 1],
    readers: [
      { nextUrl, deadMs: 0 },
      { kind: 'inboxEvents', nextUrl, deadMs: 0 },
    ],
  })
  const frozen = workload.readers.slice(0, 5)
  const reading = workload.readers.slice(5)
  for (const reader of frozen) reader.pause()
  // Slow enough for each of them to have one under way whenever it is its turn.
  const lift = leaving.postgres.impair({ delayMs: 50 })
  const speakers = await Promise.all(Array.from({ length: 20 }, () => connect(leaving)))
  const senders = speakers.map((socket, sender) => sendUntilClosed(socket, `stopping/${sender}`))
  await sleep(500)
  isStopping = true
  const toldAt = performance.now()
  const closedAt: number[] = []
  for (const reader of reading) reader.onClosed = (code) => code === 1012 && closedAt.push(performance.now())
  const status = await leaving.stop()
  const tookMs = performance.now() - toldAt
  lift()
  for (const reader of frozen) reader.resume()
  const sent = await Promise.all(senders)
  await leaving.start()
  expect(await workload.verdict()).toEqual(flawless)

  const [firstAt = 0, lastAt = 0] = [closedAt.at(0), closedAt.at(-1)]
  const spreadMs = lastAt - firstAt
  const unevenness = Math.max(
    ...closedAt.map((at, place) => Math.abs((at - firstAt) / spreadMs - place / (closedAt.length - 1))),
  )
  figure('11. Told to stop', {
    sockets,
    'ended after ms': tookMs,
    'closed over ms': spreadMs,
    unevenness,
    'mutations answered': sum(sent.map(({ answered }) => answered)),
  })
  expect(status).toBe(0)
  expect(reading.map(({ closings }) => closings.get(1012))).toEqual(reading.map(() => 1))
  expect(spreadMs).toBeGreaterThan(drainMs * spreadMin)
  expect(unevenness).toBeLessThan(unevennessMax)
  expect(tookMs).toBeLessThan(drainMs + endMsMax + slackMs)
  expect(sent.map(({ code }) => code)).toEqual(sent.map(() => 1012))
  expect(sent.filter(({ answered }) => answered === 0)).toEqual([])
  const unanswered = sent.map(({ unanswered }) => unanswered)
  const carriedOut = 'select title from notifications where title = any($1)'
  expect(await fleet.postgres.query(carriedOut, [unanswered])).toEqual([])
})

test('frozen and continued: acknowledges nothing that did not arrive, and holds up nobody meanwhile', async () => {
  const [frozen, other] = [fleet.instance(0), fleet.instance(1)]
  const shared = { fleet, readFrom: [0, 1] }
  // Their only reader, and it forgets its cursor: what was acknowledged and did not arrive never will.
  await using forgetful = await Workload.start({
    ...shared,
    users: 10,
    perSecond: 50,
    sendTo: [1],
    readers: [{ autoAck: true, resumes: false }],
  })
  // An odd number, so that each user is sent to by both.
  await using patient = await Workload.start({
    ...shared,
    users: 11,
    perSecond: 60,
    sendTo: [0, 1],
    readers: [
      { autoAck: true, deadMs: 0 },
      { kind: 'inboxEvents', deadMs: 0 },
    ],
    requestMsMax: 1_000,
  })
  await sleep(1_000)
  const waiting = readersOf(forgetful, frozen)
  // So that it is in the middle of sends and acknowledgements.
  const liftPostgres = frozen.postgres.impair({ direction: 'toClient', delayMs: 100 })
  await sleep(500)
  const liftClients = frozen.clients.impair({ direction: 'toClient', blackhole: true })
  await sleep(300)
  const frozenAt = performance.now()
  frozen.freeze()
  const titles = new RegExp(`"title":"(${waiting.map(({ userId }) => userId).join('|')})/`, 'g')
  const onTheirWay = [...frozen.clients.held.matchAll(titles)].length
  const cut = waiting.filter((_, place) => place % 2 === 0)
  for (const reader of cut) reader.cut()
  liftClients()
  liftPostgres()
  await sleep(sized(5_000, 60_000))
  frozen.thaw()
  const thawedAt = performance.now()
  await sleep(sized(500, 5_000))
  expect(await forgetful.verdict()).toEqual(flawless)
  expect(await patient.verdict()).toEqual(flawless)

  const between = (from: number, until: number) =>
    [...forgetful.writers.requests, ...patient.writers.requests]
      .filter(({ url, acceptedAt }) => url === other.url && acceptedAt >= from && acceptedAt < until)
      .map(({ tookMs }) => tookMs)
      .sort((a, b) => a - b)
  const sends = between(frozenAt, thawedAt)
  figure('12. Frozen and continued', {
    'on their way': onTheirWay,
    'readers cut': cut.length,
    'readers that gave up': waiting.filter((reader) => reader.connections > 1).length - cut.length,
    'sends meanwhile': sends.length,
    'p99 of a send before ms': quantile(between(0, frozenAt), 0.99),
    'p99 of a send meanwhile ms': quantile(sends, 0.99),
    'slowest ms': sends.at(-1) ?? 0,
    'caught up ms after it went on': Math.max(0, patient.caughtUpAt(thawedAt) - thawedAt),
  })
  expect(onTheirWay).toBeGreaterThan(0)
  expect(cut.length).toBeGreaterThan(0)
  expect(waiting.filter((reader) => reader.connections === 1)).toEqual([])
  expect(sends.at(-1)).toBeLessThan(lockTimeoutMs + slackMs)
  expect([...forgetful.writers.failures]).toEqual([])
  expect([...patient.writers.failures.keys()].filter((code) => code !== 'network')).toEqual([])
})

test('subscribing again and again while much is sent: a stream goes on where the one before ended', async () => {
  const perSecond = sized(200, 500)
  await using workload = await Workload.start({
    fleet,
    // Few, so that something comes in the middle of nearly every replay.
    users: 3,
    perSecond,
    // What is more than the machine can do must not pile up: the answers would be late, and nobody's fault.
    underWayMax: 100,
    readFrom: [0, 1],
    sendTo: [0, 1],
  })
  const beganAt = performance.now()
  const resubscribes = sized(150, 1_000)
  // Each has all that was accepted before it last subscribed: one that is interrupted sooner, again and again, starves.
  const ready = new Set<Reader>()
  const due = new Map<Reader, number>()
  for (const reader of workload.readers) {
    reader.onReceived = ({ seq }) => {
      if (seq >= (due.get(reader) ?? 0)) ready.add(reader)
    }
  }
  for (let turn = 0; turn < resubscribes; turn++) {
    await vi.waitFor(() => expect(ready.size).toBeGreaterThan(0), { interval: 1, timeout: giveUpMs })
    const [reader] = [...ready].sort(() => Math.random() - 0.5)
    if (!reader) throw new Error('one is ready')
    ready.delete(reader)
    due.set(reader, workload.writers.accepted.findLast(({ userId }) => userId === reader.userId)?.seq ?? 0)
    if (turn % 2 === 0) reader.cut()
    else reader.resubscribe()
    await sleep(10)
  }
  const tookMs = performance.now() - beganAt
  const sends = workload.writers.accepted.length
  expect(await workload.verdict()).toEqual(flawless)
  const active = () => Promise.all(fleet.instances.map((instance) => instance.metric('carillon_subscriptions_active')))
  // None of those that ended is left.
  await vi.waitFor(async () => expect(sum(await active())).toBe(workload.readers.length), { timeout: slackMs })
  const latencies = workload.latencies(beganAt)
  figure('16. Subscribing again and again', {
    resubscribes,
    'a second': (resubscribes / tookMs) * 1_000,
    'sends a second': (sends / tookMs) * 1_000,
    'p99 of delivery ms': quantile(latencies, 0.99),
    'slowest ms': latencies.at(-1) ?? 0,
  })
  expect((sends / tookMs) * 1_000).toBeGreaterThan(perSecond * paceMin)
  // It needs no tail check.
  expect(quantile(latencies, 0.99)).toBeLessThan(tailCheckMs)
})

test('five connections of a user over two instances: what one acknowledges, all hear of, once', async () => {
  await using workload = await Workload.start({
    fleet,
    users: sized(4, 20),
    perSecond: 100,
    readFrom: [0, 1],
    sendTo: [0, 1],
    readers: Array.from({ length: 5 }, () => ({ kind: 'inboxEvents' as const })),
  })
  const users = workload.userIds.map((userId) => {
    const devices = workload.readers.filter((reader) => reader.userId === userId)
    const [first] = devices
    if (!first) throw new Error('a user has five devices')
    return { userId, devices, first, acknowledged: new Set<string>(), known: [] as string[], upTo: '' }
  })
  type User = (typeof users)[number]
  const acknowledge = async ({ first, acknowledged }: User, selection: { ids: string[] } | { upTo: string }) => {
    const { url } = fleet.instance(acknowledged.size % 2)
    const { data } = await post<Marked>(url, first.options.token, markDelivered, selection, requestMsMax)
    for (const { id } of data?.markDelivered.notifications ?? []) acknowledged.add(id)
  }
  const open = ({ first, acknowledged }: User) =>
    first.received.map(({ id }) => id).filter((id) => !acknowledged.has(id))

  const crowdedUntil = performance.now() + sized(1_500, 30_000)
  await Promise.all(
    users.map(async (user) => {
      for (let turn = 0; performance.now() < crowdedUntil; turn++) {
        await sleep(50)
        const ids = open(user).slice(-2)
        const { cursor } = user.first
        if (turn % 3 > 0) await acknowledge(user, { ids })
        else if (cursor !== null) await acknowledge(user, { upTo: cursor })
      }
    }),
  )
  await sleep(sized(500, 2_000))
  for (const user of users) Object.assign(user, { known: open(user), upTo: user.first.cursor })
  await sleep(sized(300, 2_000))
  expect(await workload.verdict()).toEqual(flawless)

  const heardMs: number[] = []
  for (const user of users) {
    const { userId, devices, first, known, upTo } = user
    const due = open(user)
    const some = known.slice(1, 4)
    const rest = known.filter((id) => !some.includes(id))
    const left = due.filter((id) => !known.includes(id))
    for (const [selection, ids, undeliveredCount] of [
      [{ ids: some }, some, due.length - some.length],
      [{ upTo }, rest, left.length],
    ] as const) {
      await acknowledge(user, selection)
      const answeredAt = performance.now()
      const update = { ids: [...ids].reverse(), undeliveredCount }
      await vi.waitFor(() => expect(devices.map(({ updates }) => updates.at(-1))).toEqual(devices.map(() => update)), {
        timeout: slackMs,
        interval: 5,
      })
      heardMs.push(performance.now() - answeredAt)
    }
    const anew = new Reader({ userId, token: first.options.token, nextUrl: () => fleet.instance(1).url })
    await vi.waitFor(() => expect(anew.received.map(({ id }) => id)).toEqual(left), { timeout: slackMs })
    anew.close()
    for (const { updates, stateChanges } of devices) {
      const told = updates.flatMap(({ ids }) => ids)
      expect(told.filter((id, place) => told.indexOf(id) < place)).toEqual([])
      // Told to fetch all states again, it may have been told of fewer.
      if (stateChanges === 0) expect(new Set(told)).toEqual(user.acknowledged)
    }
  }
  const toldToFetch = workload.readers.filter(({ stateChanges }) => stateChanges > 0).length
  figure('18. One of five acknowledges', {
    users: users.length,
    acknowledged: sum(users.map(({ acknowledged }) => acknowledged.size)),
    'slowest to hear ms': Math.max(...heardMs),
    'told to fetch again': toldToFetch,
  })
  // Most were told of each change, or the case has shown little.
  expect(toldToFetch).toBeLessThan(workload.readers.length / 2)
})

const sum = (numbers: number[]) => numbers.reduce((all, one) => all + one, 0)

const sendOne = 'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { duplicate } }'

const markDelivered = `mutation ($ids: [ID!], $upTo: String) {
  markDelivered(ids: $ids, upTo: $upTo) { notifications { id } }
}`

interface Marked {
  markDelivered: { notifications: { id: string }[] }
}

function readersOf({ readers }: Workload, { url }: Instance): Reader[] {
  return readers.filter((reader) => reader.isConnected && reader.url === url)
}

async function connect({ url }: Instance): Promise<RawSocket> {
  return new RawSocket(`${url.replace('http', 'ws')}/graphql`).ready(await serviceToken())
}

/** One mutation after the other, until the connection is closed. */
async function sendUntilClosed(socket: RawSocket, userId: string) {
  // It listens anew for each answer.
  socket.webSocket.setMaxListeners(0)
  for (let answered = 0; ; answered++) {
    const title = `${userId}/${answered}`
    socket.subscribe(title, sendOne, { input: { userId, title } })
    try {
      await socket.next('next')
      await socket.next('complete')
    } catch {
      const { code } = await socket.closed
      return { answered, unanswered: title, code }
    }
  }
}
