// Two failures of Redis that no error tells of. What each did is returned: a test expects that it was noticed, and a control
// that it was not, by a program that lacks what would have to notice it (controls.test.ts).
import { setTimeout as sleep } from 'node:timers/promises'
import { probeIntervalMs } from '../../../src/bus/probe.ts'
import { slicesPerInterval } from '../../../src/notifications/tail-check.ts'
import type { FaultFleet } from './fleet.ts'
import { operateRedis, type RedisOperator } from './redis-operator.ts'
import { type Verdict, Workload } from './workload.ts'

/** What the machine adds to the bounds. */
export const slackMs = 1_000
/** A connection that has gone silent is noticed within it. */
export const noticeMsMax = 2 * probeIntervalMs
const pollMs = 20

/** By cause, over the whole fleet: how often a stream that was live waited for a doorbell that came, or read its log. */
export type Heals = Record<'wait' | 'gap' | 'tail' | 'overflow' | 'distrust', number>

export async function healsOf(fleet: FaultFleet): Promise<Heals> {
  const of = (cause: string) => sumOver(fleet, 'carillon_gap_heals_total', `cause="${cause}"`)
  const [wait, gap, tail] = await Promise.all([of('wait'), of('gap'), of('tail')])
  return { wait, gap, tail, overflow: await of('overflow'), distrust: await of('distrust') }
}

export async function sumOver({ instances }: FaultFleet, metric: string, labels = ''): Promise<number> {
  const values = await Promise.all(instances.map((instance) => instance.metric(metric, labels)))
  return values.reduce((sum, value) => sum + value, 0)
}

/** Since when no instance has called its bus degraded, by `performance.now()`. Fails where that takes too long. */
export async function busIsBack(fleet: FaultFleet, msMax = 10_000): Promise<number> {
  const giveUpAt = performance.now() + msMax
  for (;;) {
    const degraded = await Promise.all(fleet.instances.map((instance) => instance.degraded()))
    if (degraded.every(({ bus }) => bus === undefined)) return performance.now()
    if (performance.now() > giveUpAt) throw new Error(`the bus did not come back: ${JSON.stringify(degraded)}`)
    await sleep(pollMs)
  }
}

export interface LostDoorbells {
  /** After the interval in which the tail check has to have delivered. */
  verdict: Verdict
  streams: number
  /** From accepted to received. */
  slowestMs: number
  heals: Heals
  /** Reads of streams that had just begun. */
  replayed: number
}

/** Everybody has everything; then the last notification of each user is sent, its doorbell lost, and all is silent. */
export async function loseLastDoorbells(fleet: FaultFleet, tailCheckMs: number): Promise<LostDoorbells> {
  await using redis = await operateRedis(fleet)
  // As many as the tail check has rounds in its interval: one in each.
  const apart = { readFrom: [0], sendTo: [1] }
  await using workload = await Workload.start({ fleet, users: slicesPerInterval, perSecond: 100, ...apart })
  await sleep(200)
  const { lost } = await workload.verdict()
  if (lost.length > 0) throw new Error(`lost before anything happened: ${lost}`)
  const healsBefore = await healsOf(fleet)
  const replayedBefore = await sumOver(fleet, 'carillon_replayed_total')

  // Redis refuses what rings, and every connection stays.
  await redis.call('ACL', 'SETUSER', 'default', '-publish')
  const lostAt = performance.now()
  await Promise.all(workload.userIds.map((userId) => workload.writers.send(userId)))
  await redis.call('ACL', 'SETUSER', 'default', '+publish')

  const verdict = await workload.verdict(tailCheckMs + slackMs)
  const heals = await healsOf(fleet)
  return {
    verdict,
    streams: workload.readers.length,
    slowestMs: workload.latencies(lostAt).at(-1) ?? 0,
    heals: {
      wait: heals.wait - healsBefore.wait,
      gap: heals.gap - healsBefore.gap,
      tail: heals.tail - healsBefore.tail,
      overflow: heals.overflow - healsBefore.overflow,
      distrust: heals.distrust - healsBefore.distrust,
    },
    replayed: (await sumOver(fleet, 'carillon_replayed_total')) - replayedBefore,
  }
}

export interface SilentSubscriber {
  /** Of each round: until there was a new connection; infinite where there was none in time. */
  noticedMs: number[]
  verdict: Verdict
  /** From accepted to received, of what was sent as soon as that was noticed. */
  slowestMs: number
}

/**
 * What Redis sends to one instance does not arrive any more, and nobody sends anything. On a fleet that had other readers
 * before, this instance may still have their channels to leave, which is traffic.
 */
export async function silenceSubscriber(fleet: FaultFleet, rounds = 1): Promise<SilentSubscriber> {
  await using redis = await operateRedis(fleet)
  await using workload = await Workload.start({ fleet, perSecond: 0, sendTo: [1] })
  const sendToAll = () => Promise.all(workload.userIds.map((userId) => workload.writers.send(userId)))
  await sendToAll()
  await workload.verdict()
  const noticedMs: number[] = []
  const sentAt = performance.now()
  for (let round = 0; round < rounds; round++) {
    const before = await redis.connections('carillon-subscriber')
    const lift = fleet.instance(0).redis.impair({
      which: /carillon-subscriber/,
      direction: 'toClient',
      isOld: true,
      blackhole: true,
    })
    const ms = await newConnectionMs(redis, before)
    noticedMs.push(ms)
    // Nothing that comes after it would be told from it.
    if (ms === Number.POSITIVE_INFINITY) break
    await busIsBack(fleet)
    await sendToAll()
    await workload.verdict()
    lift()
  }
  return { noticedMs, verdict: await workload.verdict(), slowestMs: workload.latencies(sentAt).at(-1) ?? 0 }
}

async function newConnectionMs(redis: RedisOperator, before: Set<string>): Promise<number> {
  const from = performance.now()
  for (;;) {
    const ids = await redis.connections('carillon-subscriber')
    const ms = performance.now() - from
    if ([...ids].some((id) => !before.has(id))) return ms
    if (ms > noticeMsMax + slackMs) return Number.POSITIVE_INFINITY
    await sleep(pollMs)
  }
}
