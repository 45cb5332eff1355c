// Faults drawn at random, one after the other and two at once, under load: nothing is lost, and a server that lives
// through all of it grows neither in memory nor in handles nor in subscriptions. `npm run faults -- --minutes N`.
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { type Fault, faults } from './support/faults.ts'
import { startFaultFleet } from './support/fleet.ts'
import type { Instance } from './support/instance.ts'
import { figure } from './support/scale.ts'
import { flawless, quantile, Workload } from './support/workload.ts'

const minutes = Number(process.env.FAULTS_MINUTES ?? 0.1)
const seed = Number(process.env.FAULTS_SEED ?? Math.floor(Math.random() * 1e9))
const isLong = minutes >= 5
const users = 20
const sendsPerSecond = 100
/** How long a fault lasts. Some outlast what others only wait for. */
const faultMs = { min: 200, max: isLong ? 20_000 : 3_000 }
const calmMs = { min: 500, max: isLong ? 6_000 : 1_000 }
/** Of faults, how many come with a second one. */
const pairedShare = 0.25
/** A fault may have begun just before the end; then everybody has to come back, and catch up. */
const settleMsMax = 60_000
/** Of memory, from the second quarter of a long run to the last. Node's heap breathes by about a tenth. */
const growthMax = 1.2
/** Sockets to PostgreSQL and Redis, and files, that come and go by themselves. */
const handlesSlack = 15

test(`random faults, ${minutes} minutes, seed ${seed}`, { timeout: minutes * 60_000 + 300_000 }, async () => {
  await using fleet = await startFaultFleet({ instances: 3, env: { CARILLON_DRAIN_MS: '1000' } })
  /** It is frozen and cut off like the others, and never ends. */
  const survivor = fleet.instance(0)
  const handlesBefore = await survivor.handles()
  await using workload = await Workload.start({
    fleet,
    users,
    perSecond: sendsPerSecond,
    withdrawOneOf: 10,
    readers: [
      { kind: 'notifications' },
      { kind: 'inboxEvents', transport: 'sse' },
      { kind: 'notifications', autoAck: true },
    ],
  })
  const random = seeded(seed)
  const between = ({ min, max }: { min: number; max: number }) => min + random() * (max - min)
  const pick = <Item>(items: readonly Item[]) => items[Math.floor(random() * items.length)] as Item
  const strikes: { name: string; from: number; until: number }[] = []
  const memory: number[] = []

  async function strike(fault: Fault): Promise<void> {
    const victim = pick(fault.endsProcess ? fleet.instances.slice(1) : fleet.instances)
    const from = performance.now()
    await fault.happen(fleet, victim, between(faultMs))
    strikes.push({ name: fault.name, from, until: performance.now() })
  }

  const beganAt = performance.now()
  while (performance.now() - beganAt < minutes * 60_000) {
    const first = pick(faults)
    const others = faults.filter(({ on }) => !on.some((part) => first.on.includes(part)))
    const second = random() < pairedShare && others.length > 0 ? [pick(others)] : []
    await Promise.all([first, ...second].map(strike))
    await sleep(between(calmMs))
    memory.push(await survivor.memory())
  }

  const verdict = await workload.verdict(settleMsMax)
  const quarter = (nth: number) => mean(memory.slice((memory.length * (nth - 1)) / 4, (memory.length * nth) / 4))
  const deliveries = workload.deliveries()
  const latencies = deliveries.map(({ ms }) => ms).sort((a, b) => a - b)
  figure(`random faults, seed ${seed}`, {
    minutes: (performance.now() - beganAt) / 60_000,
    faults: strikes.length,
    sent: workload.writers.accepted.length,
    'of these taken back': workload.writers.withdrawn.size,
    received: workload.readers.reduce((sum, { received }) => sum + received.length, 0),
    connections: workload.readers.reduce((sum, { connections }) => sum + connections, 0),
    'delivery ms p50': quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
    'p99.9': quantile(latencies, 0.999),
    'memory MiB in its second quarter': quarter(2),
    'in its last': quarter(4),
    'handles before': handlesBefore,
  })
  for (const { name } of faults) {
    const times = strikes.filter((strike) => strike.name === name)
    // What was accepted while it lasted. Where there were two at once, the other one counts for both.
    const isMeanwhile = (at: number) => times.some(({ from, until }) => at >= from && at < until)
    const meanwhile = deliveries
      .flatMap(({ acceptedAt, ms }) => (isMeanwhile(acceptedAt) ? [ms] : []))
      .sort((a, b) => a - b)
    const [p50, p99] = [quantile(meanwhile, 0.5), quantile(meanwhile, 0.99)].map(Math.round)
    console.log(`  ${name}: ${times.length} times; delivery of what was sent meanwhile ms p50 ${p50}, p99 ${p99}`)
  }
  console.log('  answers that were no acceptance:', Object.fromEntries(workload.writers.failures))
  expect(verdict).toEqual(flawless)
  if (isLong) expect(quarter(4)).toBeLessThan(quarter(2) * growthMax)

  for (const reader of workload.readers) reader.close()
  // The senders' connections, which are kept for the next request.
  survivor.clients.cut()
  await vi.waitFor(() => expectNothingHeld(survivor, handlesBefore), 30_000)
  figure('afterwards', {
    handles: await survivor.handles(),
    subscriptions: await survivor.metric('carillon_subscriptions_active'),
    connections: await survivor.metric('carillon_connections_active'),
  })
})

async function expectNothingHeld(instance: Instance, handlesBefore: number): Promise<void> {
  expect(await instance.metric('carillon_subscriptions_active')).toBe(0)
  expect(await instance.metric('carillon_connections_active')).toBe(0)
  expect(await instance.handles()).toBeLessThan(handlesBefore + handlesSlack)
}

const mean = (numbers: readonly number[]) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length

/** The same numbers for the same seed, from 0 to 1: mulberry32. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
