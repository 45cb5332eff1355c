// Redis goes away in every way there is. Sends go on, and what Redis lost is healed by reading the log.
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { attachTimeoutMs } from '../../src/bus/bus.ts'
import { gapWaitMs } from '../../src/notifications/subscription.ts'
import { commandTimeoutMs } from '../../src/redis.ts'
import { type FaultFleet, startFaultFleet } from './support/fleet.ts'
import {
  busIsBack,
  healsOf,
  loseLastDoorbells,
  noticeMsMax,
  silenceSubscriber,
  slackMs,
  sumOver,
} from './support/redis-cases.ts'
import { countDoorbells, operateRedis } from './support/redis-operator.ts'
import { figure, sized } from './support/scale.ts'
import { flawless, quantile, Workload } from './support/workload.ts'

/** The default, or what a short form can wait for. */
const tailCheckMs = sized(1_000, 5_000)
/** Without Redis a client that subscribes waits for it, which is most of this. */
const admitMsMax = 2 * attachTimeoutMs
/** Less than the probe takes to make a frozen connection anew, which ends a send that waits without a time-out too. */
const sendSlackMs = 1_000
/** Of the streams of a workload, how many may read the log by chance while all of them are live: a doorbell is late. */
const readingShareMax = 0.25
const perSecond = sized(50, 100)

let fleet: FaultFleet
beforeAll(async () => {
  fleet = await startFaultFleet({ env: { CARILLON_TAIL_CHECK_MS: String(tailCheckMs) } })
})
afterAll(() => fleet[Symbol.asyncDispose]())
// One case may end before every instance has Redis again.
beforeEach(async () => void (await busIsBack(fleet)))

// First, while no instance has channels to leave: that would be traffic.
test('a subscriber connection that went silent is noticed within two probe intervals, without any traffic', async () => {
  const { noticedMs, verdict, slowestMs } = await silenceSubscriber(fleet, sized(1, 5))
  expect(verdict).toEqual(flawless)
  const slowest = Math.max(...noticedMs)
  figure('3. Subscriber connection silent', { 'noticed ms': slowest, 'slowest delivery after that ms': slowestMs })
  expect(slowest).toBeLessThan(noticeMsMax + slackMs)
  expect(slowestMs).toBeLessThan(tailCheckMs + slackMs)
})

test('Redis killed: sends go on, and everybody has everything within the tail interval', async () => {
  await using workload = await Workload.start({ fleet, perSecond, withdrawOneOf: 5 })
  await sleep(300)
  const killedAt = performance.now()
  await fleet.redis.kill()
  const awayMs = sized(1_500, 10_000)
  await sleep(awayMs)
  for (const instance of fleet.instances) expect(await instance.degraded()).toHaveProperty('bus')
  await fleet.redis.restart()
  const backAt = performance.now()
  await sleep(sized(300, 6_000))
  expect(await workload.verdict()).toEqual(flawless)
  const { accepted, failures, tookMs } = workload.writers
  const meanwhile = accepted.filter(({ acceptedAt }) => acceptedAt > killedAt && acceptedAt < backAt).length
  const latencies = workload.latencies(killedAt, backAt)
  const healedMs = workload.caughtUpAt(backAt) - backAt
  figure('1. Redis killed', {
    'accepted while it was away': meanwhile,
    'slowest send ms': Math.max(...tookMs),
    'delivery ms p50': quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
    'caught up ms after it was back': healedMs,
  })
  expect(failures).toEqual(new Map())
  expect(meanwhile).toBeGreaterThan((perSecond * awayMs) / 1_000 / 2)
  expect(quantile(latencies, 0.99)).toBeLessThan(tailCheckMs + slackMs)
  expect(healedMs).toBeLessThan(tailCheckMs + slackMs)
})

test('Redis frozen: a send takes the time-out of a command longer at most', async () => {
  await using workload = await Workload.start({ fleet, perSecond })
  await sleep(300)
  const usualMs = quantile(workload.writers.tookMs.toSorted(ascending), 0.5)
  fleet.redis.pause()
  // Longer than the bound, so that a send that waits for it breaks that.
  await sleep(sized(commandTimeoutMs + sendSlackMs + 500, 30_000))
  fleet.redis.resume()
  await sleep(sized(200, 6_000))
  expect(await workload.verdict()).toEqual(flawless)
  const slowest = Math.max(...workload.writers.tookMs)
  const latencies = workload.latencies()
  figure('2. Redis frozen', {
    'usual send ms': usualMs,
    'slowest ms': slowest,
    'delivery ms p99': quantile(latencies, 0.99),
  })
  expect(workload.writers.failures).toEqual(new Map())
  expect(slowest).toBeLessThan(usualMs + commandTimeoutMs + sendSlackMs)
  expect(quantile(latencies, 0.99)).toBeLessThan(tailCheckMs + slackMs)
})

test('all connections to Redis killed once a second: no send fails, and all is delivered', async () => {
  await using redis = await operateRedis(fleet)
  await using workload = await Workload.start({ fleet, perSecond })
  const before = await healsOf(fleet)
  const killed = { pubsub: 0, normal: 0 }
  const rounds = sized(2, 20)
  for (let round = 0; round < rounds; round++) {
    await sleep(500)
    killed.pubsub += Number(await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub'))
    await sleep(500)
    killed.normal += Number(await redis.call('CLIENT', 'KILL', 'TYPE', 'normal'))
  }
  expect(await workload.verdict()).toEqual(flawless)
  const latencies = workload.latencies()
  figure('4. Connections killed', {
    'of subscribers': killed.pubsub,
    'of publishers': killed.normal,
    'logs read': (await healsOf(fleet)).tail - before.tail,
    'delivery ms p50': quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
    slowest: latencies.at(-1) ?? 0,
  })
  // Of each round one at least, of an instance that had come back within the second.
  expect(killed.pubsub).toBeGreaterThanOrEqual(rounds)
  expect(workload.writers.failures).toEqual(new Map())
  expect(latencies.at(-1)).toBeLessThan(tailCheckMs + slackMs)
})

test('only the last doorbell lost, then silence: the tail check alone delivers, within its interval', async () => {
  const { verdict, streams, slowestMs, heals, replayed } = await loseLastDoorbells(fleet, tailCheckMs)
  expect(verdict).toEqual(flawless)
  figure('5. Last doorbell lost', { streams, 'slowest delivery ms': slowestMs, 'tail interval ms': tailCheckMs })
  expect(slowestMs).toBeLessThan(tailCheckMs + slackMs)
  expect({ heals, replayed }).toEqual({
    heals: { wait: 0, gap: 0, tail: streams, overflow: 0, distrust: 0 },
    replayed: 0,
  })
})

test('FLUSHALL takes nothing away from anybody', async () => {
  await using redis = await operateRedis(fleet)
  await using workload = await Workload.start({ fleet, perSecond })
  for (let round = 0; round < sized(2, 20); round++) {
    await sleep(250)
    await redis.call('FLUSHALL')
  }
  await sleep(250)
  expect(await workload.verdict()).toEqual(flawless)
  const latencies = workload.latencies()
  figure('6. FLUSHALL', { 'delivery ms p50': quantile(latencies, 0.5), p99: quantile(latencies, 0.99) })
  expect(workload.writers.failures).toEqual(new Map())
  expect(quantile(latencies, 0.99)).toBeLessThan(slackMs)
})

test('Redis down when clients subscribe: they are admitted, served by the tail check, and live when it is back', async () => {
  await fleet.redis.kill()
  const beganAt = performance.now()
  const readers = (['ws', 'sse'] as const).map((transport) => ({ kind: 'inboxEvents', transport }) as const)
  await using workload = await Workload.start({ fleet, perSecond, readers })
  const caughtUpAt = () => workload.readers.map((reader) => reader.caughtUpAt ?? Number.POSITIVE_INFINITY)
  await vi.waitFor(() => expect(Math.max(...caughtUpAt())).toBeLessThan(Number.POSITIVE_INFINITY), 10_000)
  const admittedMs = Math.max(...caughtUpAt()) - beganAt
  const admittedAt = performance.now()
  await sleep(sized(tailCheckMs, 10_000))
  const downUntil = performance.now()
  await fleet.redis.restart()
  const restartedAt = performance.now()
  const backMs = (await busIsBack(fleet)) - restartedAt
  expect(await workload.verdict()).toEqual(flawless)
  const latencies = workload.latencies(admittedAt, downUntil)

  const before = await sumOver(fleet, 'carillon_gap_heals_total')
  const sentAt = performance.now()
  await Promise.all(workload.userIds.map((userId) => workload.writers.send(userId)))
  expect(await workload.verdict()).toEqual(flawless)
  const read = (await sumOver(fleet, 'carillon_gap_heals_total')) - before
  figure('6b. Redis down when clients subscribe', {
    'admitted ms': admittedMs,
    'delivery by the tail check ms p99': quantile(latencies, 0.99),
    'attached ms after it was back': backMs,
    'then live, delivery ms p99': quantile(workload.latencies(sentAt), 0.99),
  })
  expect(admittedMs).toBeLessThan(admitMsMax)
  expect(latencies.at(-1)).toBeLessThan(tailCheckMs + slackMs)
  expect(read).toBeLessThan(workload.readers.length * readingShareMax)
})

test("one publisher's doorbells late: the order holds, by waiting where that is enough and by reading where it is not", async () => {
  const delayMs = 200
  await using doorbells = await countDoorbells(fleet)
  const lift = fleet.instance(0).redis.impair({ which: /carillon-publisher/, direction: 'toServer', delayMs })
  const before = await healsOf(fleet)
  // The instances take turns at each user, whose next doorbell rings when the one before it is still to come: for longer
  // than that is waited for, or for less.
  const rates = { longMs: delayMs / 2, shortMs: delayMs - gapWaitMs / 2 }
  await using reading = await Workload.start({ fleet, readFrom: [1], users: 5, perSecond: (5 * 1_000) / rates.longMs })
  await using waiting = await Workload.start({ fleet, readFrom: [1], users: 9, perSecond: (9 * 1_000) / rates.shortMs })
  await sleep(sized(1_500, 20_000))
  const verdicts = await Promise.all([reading.verdict(), waiting.verdict()])
  lift()
  expect(verdicts).toEqual([flawless, flawless])
  const { wait, gap, tail } = await healsOf(fleet)
  const p99 = (workload: Workload) => quantile(workload.latencies(), 0.99)
  figure("17. One publisher's doorbells late", {
    doorbells: doorbells.heard,
    'of those out of order': doorbells.late,
    'by two streams each, healed by waiting': wait - before.wait,
    'by reading': gap - before.gap,
    'by reading for the tail check': tail - before.tail,
    'delivery ms p99 where it was read': p99(reading),
    'where it was waited for': p99(waiting),
  })
  // Each late one was a gap for both streams of its user.
  expect(wait - before.wait).toBeGreaterThan(0)
  expect(gap - before.gap).toBeGreaterThan(0)
  expect(gap - before.gap).toBeLessThan(doorbells.late * 2)
  expect(Math.max(p99(reading), p99(waiting))).toBeLessThan(delayMs + slackMs)
})

// Last, for it changes how Redis is configured, and may leave an instance frozen where it fails.
test('a subscriber that Redis dropped while its instance was frozen has everything when it runs again', async () => {
  await using redis = await operateRedis(fleet)
  await redis.call('CONFIG', 'SET', 'client-output-buffer-limit', 'pubsub 1048576 0 0')
  const frozen = fleet.instance(0)
  await using workload = await Workload.start({
    fleet,
    perSecond: 100,
    readFrom: [0],
    sendTo: [1],
    // They wait for the frozen instance, whatever it takes.
    readers: [{ kind: 'inboxEvents', deadMs: 0 }],
    // Of 32 KB: what lies between Redis and the instance has to be full first.
    input: { body: '🔔'.repeat(4_000), data: { filler: 'x'.repeat(16_000) } },
  })
  await sleep(300)
  frozen.freeze()
  // The kernel would hold some megabytes more on the way from the proxy to the instance.
  const lift = frozen.redis.impair({
    which: /carillon-subscriber/,
    direction: 'toClient',
    isOld: true,
    blackhole: true,
  })
  const frozenAt = performance.now()
  const before = await redis.connections('carillon-subscriber')
  expect(before.size).toBe(2)
  // Nobody but Redis can end it: the instance does nothing, and its proxy only what the instance does.
  await vi.waitFor(
    async () => {
      const now = await redis.connections('carillon-subscriber')
      expect([...before].filter((id) => !now.has(id))).toHaveLength(1)
    },
    { timeout: 20_000, interval: 50 },
  )
  const droppedAt = performance.now()
  await sleep(sized(200, 5_000))
  lift()
  frozen.thaw()
  const thawedAt = performance.now()
  expect(await workload.verdict()).toEqual(flawless)
  const healedMs = workload.caughtUpAt(thawedAt) - thawedAt
  figure('7. Subscriber dropped while frozen', {
    'dropped ms after it was frozen': droppedAt - frozenAt,
    'accepted meanwhile': workload.writers.accepted.filter(({ acceptedAt }) => acceptedAt > frozenAt).length,
    'caught up ms after it ran again': healedMs,
  })
  expect(workload.writers.failures).toEqual(new Map())
  expect(workload.readers.map(({ connections }) => connections)).toEqual(workload.readers.map(() => 1))
  expect(healedMs).toBeLessThan(tailCheckMs + slackMs)
})

const ascending = (one: number, other: number) => one - other
