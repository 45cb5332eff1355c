// Readers that take less than is due to them. What they have not taken waits in the log, not in the server, and nobody else
// notices.
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { startProxy } from '../support/proxy.ts'
import { sendBatch } from './support/batch.ts'
import { type FaultFleet, startFaultFleet } from './support/fleet.ts'
import { Reader, type ReaderOptions } from './support/reader.ts'
import { figure, sized } from './support/scale.ts'
import { collectsWhenAsked, heldMemory, watchMemory } from './support/watch.ts'
import { flawless, quantile, Workload } from './support/workload.ts'

/** Of resident memory, over what it grows to while as much is delivered to who reads it. */
const growthMibMax = 32
/** Once garbage has been collected: more than mailboxes, a page and what is on its way, far less than what is due. */
const heldMibMax = 16
/** With what a busy machine adds. */
const p99Factor = 2
const p99SlackMs = 100
const catchUpMsMax = sized(30_000, 180_000)
/** Twice as long without an answer to its pings, and a reader of whom nothing else is known is taken for dead. */
const keepaliveMs = sized(1_000, 12_000)
/** Longer than that, and shorter than what closes a reader as too slow. */
const throttledMs = sized(3_000, 28_000)
/** After all has been sent: until a server closes the connection of a reader that takes nothing. */
const stoppedMs = sized(0, 45_000)
const bytesPerSecond = 1_000
/** 20 KB. */
const content = { body: 'b'.repeat(4_000), data: { text: 'd'.repeat(16_000) } }
/** Of 20 KB. */
const due = sized(2_000, 10_000)
/** Of one request. */
const batchItems = 50
let sent = 0

let fleet: FaultFleet
beforeAll(async () => {
  fleet = await startFaultFleet({
    instanceEnv: { 1: { CARILLON_KEEPALIVE_MS: String(keepaliveMs) } },
    nodeArguments: { 0: collectsWhenAsked, 1: collectsWhenAsked },
  })
})
afterAll(() => fleet[Symbol.asyncDispose]())

/** One user, who is sent nothing by itself. They read from one instance, and what is sent to them comes from the other. */
function subscribe(place: number, ...readers: Partial<ReaderOptions>[]): Promise<Workload> {
  const all = readers.map((options) => ({ deadMs: 0, fields: 'body data', ...options }))
  return Workload.start({ fleet, users: 1, perSecond: 0, readers: all, readFrom: [place], sendTo: [1 - place] })
}

/** Accepted when it returns. */
async function send({ userIds, writers }: Workload, count: number, more: object = content): Promise<void> {
  const [userId = ''] = userIds
  for (let left = count; left > 0; left -= batchItems) {
    const titles = Array.from({ length: Math.min(left, batchItems) }, () => `${userId}/${++sent}`)
    for (const title of titles) writers.attempted.add(title)
    const items = titles.map((title) => ({ userId, title, ...more }))
    for (const one of await sendBatch(writers.options.nextUrl(), items)) {
      writers.accepted.push({ ...one, userId, acceptedAt: performance.now() })
    }
  }
}

test('a reader that stops reading costs the server little memory and other users nothing', async () => {
  await using other = await Workload.start({ fleet, users: 1, perSecond: 50, readFrom: [0], sendTo: [1] })
  await using reading = await subscribe(0, {})
  await using stopped = await subscribe(0, {})
  const [steady] = reading.readers
  const [reader] = stopped.readers
  if (!steady || !reader) throw new Error('no reader')
  await using memory = watchMemory(fleet.instance(0))
  // What Node's heap grows to while as much is delivered, live and from the log, to who reads it.
  await send(reading, due / 8)
  const beganAt = performance.now()
  await send(reading, (due * 3) / 8)
  for (let replay = 1; replay <= 2; replay++) {
    const replayed = new Reader({ ...steady.options, after: null })
    await vi.waitFor(() => expect(replayed.received.length).toBe(due / 2), catchUpMsMax)
    replayed.close()
  }

  const heldBefore = await heldMemory(fleet.instance(0))
  const stoppedAt = performance.now()
  reader.pause()
  await send(stopped, due)
  const held = (await heldMemory(fleet.instance(0))) - heldBefore
  await sleep(stoppedMs)
  const resumedAt = performance.now()
  const received = reader.received.length
  reader.resume()
  expect(await stopped.verdict(catchUpMsMax)).toEqual(flawless)
  const caughtUpAt = performance.now()
  expect(await reading.verdict()).toEqual(flawless)
  expect(await other.verdict()).toEqual(flawless)

  const before = quantile(other.latencies(beganAt, stoppedAt), 0.99)
  const during = quantile(other.latencies(stoppedAt, resumedAt), 0.99)
  const usual = memory.peak(beganAt, stoppedAt)
  const growth = memory.peak(stoppedAt, caughtUpAt) - usual
  figure('14. A reader that stops', {
    'due MB': (due * 20) / 1_000,
    'stopped for s': (resumedAt - stoppedAt) / 1_000,
    'received by then': received,
    'connections that it took': reader.connections,
    'closed with': [...reader.closings.keys()].join(' ') || 'nothing',
    'memory with a reader that reads MiB': usual,
    'growth MiB': growth,
    'held for the one that stopped MiB': held,
    'p99 of another user before ms': before,
    'p99 meanwhile ms': during,
  })
  expect(growth).toBeLessThan(growthMibMax)
  expect(held).toBeLessThan(heldMibMax)
  expect(during).toBeLessThan(before * p99Factor + p99SlackMs)
})

test('a reader at 1 KB/s that answers pings is not taken for dead, costs little memory, and misses nothing', async () => {
  const server = fleet.instance(1)
  await using narrow = await startProxy({ targets: [server.directUrl] })
  const nextUrl = () => narrow.url
  // One leaves signs of life to its library, which answers a ping once it has read what came before; one sends pings too.
  await using workload = await subscribe(1, { nextUrl }, { nextUrl, kind: 'inboxEvents', deadMs: catchUpMsMax })
  const readers = workload.readers.length
  const lift = narrow.impair({ direction: 'toClient', bytesPerSecond })
  await send(workload, 3, {})
  await send(workload, 5)
  const heldBefore = await heldMemory(server)
  await sleep(throttledMs)
  const connected = await server.metric('carillon_connections_active')
  const received = workload.readers.map((reader) => reader.received.length)

  await send(workload, sized(250, 2_000))
  const held = (await heldMemory(server)) - heldBefore
  await sleep(sized(0, 60_000))
  const closings = workload.readers.flatMap((reader) => [...reader.closings.keys()])
  lift()
  const liftedAt = performance.now()
  expect(await workload.verdict(catchUpMsMax)).toEqual(flawless)
  figure('15. Readers at 1 KB/s', {
    'connected after two intervals': connected,
    'received by then': received.join(' and '),
    'connections that they took': workload.readers.reduce((sum, { connections }) => sum + connections, 0),
    'closed while slow': closings.join(' ') || 'none',
    'caught up s after it ended': (workload.caughtUpAt(Number.POSITIVE_INFINITY) - liftedAt) / 1_000,
    'held for them MiB': held,
  })
  expect(connected).toBe(readers)
  // The small ones.
  expect(Math.min(...received)).toBeGreaterThan(0)
  expect(held).toBeLessThan(heldMibMax)
})
