// The log is cut into weeks, by PostgreSQL's clock, which is set here: a week ends under load, nobody looks after the
// partitions for days or for months, and one is dropped below the cursors of clients.
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createMemoryBus } from '../../src/bus/bus-memory.ts'
import { createRetention } from '../../src/notifications/retention.ts'
import { createSweep } from '../../src/notifications/sweep.ts'
import { connectPostgres } from '../../src/postgres.ts'
import { tokenFor } from '../support/server.ts'
import { sendBatch } from './support/batch.ts'
import { createFakeTime, type FakeTime } from './support/faketime.ts'
import { type FaultFleet, startFaultFleet } from './support/fleet.ts'
import { Reader } from './support/reader.ts'
import { figure, sized } from './support/scale.ts'
import { flawless, Workload } from './support/workload.ts'

const dayMs = 24 * 3600 * 1000
const weekMs = 7 * dayMs
const retentionDays = 7
/** A send waits for nothing at midnight; this is what a loaded machine adds. */
const slackMs = 3_000
/** What starting a load may take; PostgreSQL's time limits let the clock jump by so much while statements run. */
const leadMs = 8_000

let time: FakeTime
let fleet: FaultFleet
beforeAll(async () => {
  time = await createFakeTime()
  fleet = await startFaultFleet({
    postgresEnvironment: time.environment,
    env: { CARILLON_RETENTION_DAYS: String(retentionDays) },
  })
})
afterAll(async () => {
  await fleet[Symbol.asyncDispose]()
  await time[Symbol.asyncDispose]()
})

test('a week ends under load: nobody waits, and the log goes on in the next partition', async () => {
  for (let week = 0; week < sized(1, 3); week++) {
    const monday = await nextMonday()
    await time.set(monday - leadMs)
    await using workload = await Workload.start({ fleet, perSecond: 100 })
    await vi.waitFor(() => expect(workload.writers.accepted.length).toBeGreaterThan(0), leadMs)
    await time.set(monday - 500)
    await sleep(sized(1_000, 3_000))
    expect(await workload.verdict()).toEqual(flawless)
    const rows = await fleet.postgres.query<{ partition: string; rows: number }>(
      `select tableoid::regclass::text as partition, count(*)::int as rows from notifications
      where user_id = any($1) group by 1 order by 1`,
      [workload.userIds],
    )
    const slowest = Math.max(...workload.writers.tookMs)
    figure('22. a week ends', {
      'sent before': rows[0]?.rows ?? 0,
      'sent after': rows[1]?.rows ?? 0,
      'slowest send ms': slowest,
    })
    expect(rows.map(({ partition }) => partition)).toEqual([partitionOf(monday - weekMs), partitionOf(monday)])
    expect(workload.writers.failures).toEqual(new Map())
    expect(slowest).toBeLessThan(slackMs)
  }
})

test('nobody looks after the partitions for two days: sends go on', async () => {
  const monday = await nextMonday()
  await time.set(monday - dayMs)
  const before = await partitions()
  await using workload = await Workload.start({ fleet, perSecond: 100 })
  await sleep(500)
  await time.set(monday + dayMs)
  await sleep(sized(500, 5_000))
  expect(await workload.verdict()).toEqual(flawless)
  figure('22. nobody looks after the partitions for two days', {
    sent: workload.writers.accepted.length,
    'slowest send ms': Math.max(...workload.writers.tookMs),
  })
  expect(await partitions()).toEqual(before)
  // PostgreSQL's time limits go by the same clock, so that what was under way may have been ended by them.
  expect([...workload.writers.failures.keys()].filter((code) => code !== 'UNAVAILABLE')).toEqual([])
})

test('a partition dropped below the cursors of clients is told to those who may have missed something', async () => {
  const userId = 'reader-of-partitions'
  const token = await tokenFor(userId)
  const nextUrl = () => fleet.instance(0).url
  const read = (after: string | null = null) => new Reader({ userId, token, nextUrl, after })
  const send = (...names: string[]) =>
    sendBatch(
      fleet.instance(1).url,
      names.map((name) => ({ userId, title: `${userId}/${name}` })),
    )
  const titles = (reader: Reader) => reader.received.map(({ title }) => title.slice(userId.length + 1))

  using stays = read()
  using first = read()
  await send('seen')
  await vi.waitFor(() => expect(titles(first)).toEqual(['seen']))
  first.close()
  using second = read(first.cursor)
  await send('missed', 'missed too')
  for (const reader of [stays, second]) await vi.waitFor(() => expect(titles(reader)).toContain('missed too'))
  second.close()

  const monday = await nextMonday()
  await time.set(monday + retentionDays * dayMs + 60_000)
  await vi.waitFor(async () => {
    await maintain()
    expect(await partitions()).not.toContain(partitionOf(monday - weekMs))
  }, 10_000)
  await send('afterwards')

  const askedAt = performance.now()
  using behind = read(first.cursor)
  await vi.waitFor(() => expect(behind.finals).toEqual(['CURSOR_EXPIRED']), { interval: 5 })
  figure('22. a partition dropped below a cursor', { 'told after ms': performance.now() - askedAt })
  expect(titles(behind)).toEqual([])
  using atHead = read(second.cursor)
  using anew = read()
  for (const reader of [atHead, anew]) await vi.waitFor(() => expect(titles(reader)).toEqual(['afterwards']))
  await vi.waitFor(() => expect(titles(stays)).toEqual(['seen', 'missed', 'missed too', 'afterwards']))
  for (const { defects, finals } of [stays, atHead, anew])
    expect({ defects, finals }).toEqual({ defects: [], finals: [] })
  await using workload = await Workload.start({ fleet })
  expect(await workload.verdict()).toEqual(flawless)
})

test('no partition is left, since nobody made any for weeks: the first send makes them', async () => {
  const last = (await partitions()).at(-1) ?? ''
  await using workload = await Workload.start({ fleet, perSecond: 20 })
  await time.set(startOf(last) + weekMs + dayMs)
  const noneLeftAt = performance.now()
  await vi.waitFor(() => expect(workload.writers.accepted.at(-1)?.acceptedAt).toBeGreaterThan(noneLeftAt), 5_000)
  expect(await workload.verdict()).toEqual(flawless)
  const made = (await partitions()).filter((partition) => startOf(partition) > startOf(last))
  expect(made).toContain(partitionOf(startOf(last) + weekMs))
  figure('22. no partition left', { 'slowest send ms': Math.max(...workload.writers.tookMs) })
  expect(workload.writers.failures).toEqual(new Map())
})

/** What each instance does in its own time, at once. */
async function maintain(): Promise<void> {
  const logger = pino({ level: 'silent' })
  const retentionMs = retentionDays * dayMs
  const database = connectPostgres(fleet.postgres.url, logger)
  try {
    await createSweep({ database, bus: createMemoryBus({ logger }), retentionMs }).run()
    await createRetention({ database, retentionMs }).run()
  } finally {
    await database.close()
  }
}

async function databaseTime(): Promise<number> {
  const [row] = await fleet.postgres.query<{ now: Date }>('select clock_timestamp() as now')
  return row?.now.getTime() ?? 0
}

/** 1970-01-05 was one. */
async function nextMonday(): Promise<number> {
  return Math.ceil(((await databaseTime()) - 4 * dayMs) / weekMs) * weekMs + 4 * dayMs
}

/** Oldest first. */
async function partitions(): Promise<string[]> {
  const rows = await fleet.postgres.query<{ name: string }>(
    `select inhrelid::regclass::text as name from pg_inherits where inhparent = 'notifications'::regclass order by 1`,
  )
  return rows.map(({ name }) => name)
}

const partitionOf = (monday: number) =>
  `notifications_${new Date(monday).toISOString().slice(0, 10).replaceAll('-', '')}`
const startOf = (partition: string) => Date.parse(partition.replace(/^.*_(\d{4})(\d\d)(\d\d)$/, '$1-$2-$3T00:00:00Z'))
