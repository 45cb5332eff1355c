// A Redis bus for tests, on channels of its own, with what it told its surroundings.
import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import { type Logger, pino } from 'pino'
import { expect, onTestFinished, vi } from 'vitest'
import type { Addressed, Bus } from '../../src/bus/bus.ts'
import { createRedisBus } from '../../src/bus/bus-redis.ts'
import { type Note, note } from './bus.contract.ts'

interface CapturedLog {
  logger: Logger
  logged: string[]
}

export interface ConnectedBus extends CapturedLog, AsyncDisposable {
  bus: Bus<Note>
  prefix: string
  /** How often each was called. */
  counts: { publishErrors: number; resumes: number }
  lags: number[]
}

export interface ConnectOptions {
  url: string
  channels?: number
  prefix?: string
  log?: CapturedLog
}

export function connectRedisBus(options: ConnectOptions): ConnectedBus {
  const { url, channels = 1, prefix = `test-${randomUUID()}`, log = captureLog() } = options
  const counts = { publishErrors: 0, resumes: 0 }
  const lags: number[] = []
  const bus = createRedisBus<Note>({
    url,
    channels,
    prefix,
    logger: log.logger,
    parse: parseNote,
    onPublishError() {
      counts.publishErrors += 1
    },
    onLag: (seconds) => void lags.push(seconds),
  })
  bus.onResume(() => {
    counts.resumes += 1
  })
  const { logger, logged } = log
  return { bus, prefix, counts, lags, logger, logged, [Symbol.asyncDispose]: () => bus.close() }
}

export function captureLog(): CapturedLog {
  const logged: string[] = []
  return { logger: pino({ base: null }, { write: (line) => void logged.push(line) }), logged }
}

/** By another process, whose messages come over Redis. */
export async function publishFromElsewhere(
  { url }: { url: string },
  { prefix }: ConnectedBus,
  batch: readonly Addressed<Note>[],
): Promise<void> {
  await using elsewhere = connectRedisBus({ url, prefix })
  await vi.waitFor(() => expect(elsewhere.bus.status()).toEqual({ healthy: true }), { timeout: 5_000, interval: 10 })
  await elsewhere.bus.publish(batch)
  expect(elsewhere.counts.publishErrors).toBe(0)
}

/** Until the buses of both processes have connected, what is published may be lost: that is their contract. */
export async function publishUntilHeard(publisher: Bus<Note>, heard: string[]): Promise<void> {
  await vi.waitFor(
    async () => {
      await publisher.publish([{ userId: 'alice', message: note('again') }])
      expect(heard).toContain('again')
    },
    { timeout: 5_000, interval: 100 },
  )
}

/** A client of the test's own. */
export function adminOf({ url }: { url: string }, options: { enableReadyCheck?: boolean } = {}): Redis {
  const admin = new Redis(url, options)
  admin.on('error', () => {})
  onTestFinished(() => admin.disconnect())
  return admin
}

export function count(logged: string[], text: string): number {
  return logged.filter((line) => line.includes(text)).length
}

function parseNote(json: unknown): Note | undefined {
  if (typeof json !== 'object' || json === null) return undefined
  if (!('text' in json) || typeof json.text !== 'string') return undefined
  if (!('number' in json) || typeof json.number !== 'number') return undefined
  return { text: json.text, number: json.number }
}
