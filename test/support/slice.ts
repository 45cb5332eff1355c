// The notifications slice over a database of its own and the bus in process, without any transport.
import { pino } from 'pino'
import type { Bus } from '../../src/bus/bus.ts'
import { createMemoryBus } from '../../src/bus/bus-memory.ts'
import { createClock } from '../../src/clock.ts'
import { createMetrics } from '../../src/metrics.ts'
import { createAcknowledge } from '../../src/notifications/acknowledge.ts'
import { createAppend } from '../../src/notifications/append.ts'
import { createCursors } from '../../src/notifications/cursor.ts'
import type { Doorbell } from '../../src/notifications/doorbell.ts'
import { readCursorKey } from '../../src/notifications/epoch.ts'
import type { InboxEvent, NotificationReceived } from '../../src/notifications/events.ts'
import { createLog } from '../../src/notifications/log.ts'
import { createRetract } from '../../src/notifications/retract.ts'
import { createSend } from '../../src/notifications/send.ts'
import { createSendLimit } from '../../src/notifications/send-limit.ts'
import { createSubscribe } from '../../src/notifications/subscribe.ts'
import { createTailCheck } from '../../src/notifications/tail-check.ts'
import type { SendInput } from '../../src/notifications/validate.ts'
import { createReleases } from '../../src/releases.ts'
import { createTestDatabase } from './database.ts'

export const retentionMs = 30 * 24 * 3600 * 1000

export interface SliceOptions {
  /** Puts itself between the slice and its bus. */
  wrapBus?: (bus: Bus<Doorbell>) => Bus<Doorbell>
  tailCheckMs?: number
  /** What the process takes for the time. Default: what it is. */
  processTime?: () => number
  /** What one sender may send a minute. Default: no limit. */
  sendRatePerMinute?: number
}

export type Slice = Awaited<ReturnType<typeof createSlice>>

export async function createSlice({
  wrapBus = (bus) => bus,
  tailCheckMs = 60_000,
  processTime,
  sendRatePerMinute,
}: SliceOptions = {}) {
  const releases = createReleases()
  const test = await createTestDatabase()
  releases.push(() => test[Symbol.asyncDispose]())
  const { database } = test
  const logger = pino({ level: 'silent' })
  const metrics = createMetrics()
  const bus = wrapBus(createMemoryBus<Doorbell>({ logger }))
  const clock = createClock(() => database.askTime(), processTime)
  await clock.adjust()
  const append = createAppend(database)
  const limit = sendRatePerMinute === undefined ? null : createSendLimit({ database, perMinute: sendRatePerMinute })
  const log = createLog(database, retentionMs)
  const cursors = createCursors(await readCursorKey(database))
  const tailCheck = createTailCheck({ log, intervalMs: tailCheckMs, logger })
  releases.push(() => tailCheck.stop())
  bus.onResume(() => void tailCheck.checkAll())
  const onUnexpected = (error: unknown) => {
    throw error
  }
  return {
    url: test.url,
    database,
    metrics,
    bus,
    append,
    log,
    cursors,
    tailCheck,
    logger,
    ...createSend({ append, bus, clock, limit, metrics, onUnexpected }),
    acknowledge: createAcknowledge({ database, bus, retentionMs }),
    retract: createRetract({ database, bus, retentionMs }),
    subscribe: createSubscribe({ log, bus, tailCheck, cursors, clock, metrics, logger }),
    [Symbol.asyncDispose]: () => releases.run(),
  }
}

/** A valid input; what is given replaces its fields. */
export function input(fields: Partial<SendInput> = {}): SendInput {
  return { userId: 'alice', category: 'general', title: 'Hello', priority: 'NORMAL', ...fields }
}

/** Takes the next `count` events; fails where they don't come within five seconds. */
export async function take<Event>(stream: AsyncIterator<Event>, count: number): Promise<Event[]> {
  const events: Event[] = []
  while (events.length < count) {
    const result = await withDeadline(stream.next(), `event ${events.length + 1} of ${count}`)
    if (result.done) throw new Error(`the stream ended after ${events.length} of ${count} events`)
    events.push(result.value)
  }
  return events
}

async function withDeadline<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within 5 s`)), 5_000)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

export const isReceived = (event: InboxEvent): event is NotificationReceived =>
  event.__typename === 'NotificationReceived'

/** The seqs of the next `count` notifications. */
export async function takeSeqs(stream: AsyncIterator<InboxEvent>, count: number): Promise<number[]> {
  return (await take(stream, count)).map((event) => (isReceived(event) ? event.notification.seq : -1))
}
