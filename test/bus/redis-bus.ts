// A Redis bus for tests, on channels of its own, with what it told its surroundings.
import { randomUUID } from 'node:crypto'
import { type Logger, pino } from 'pino'
import type { Bus } from '../../src/bus/bus.ts'
import { createRedisBus } from '../../src/bus/bus-redis.ts'
import type { Note } from './bus.contract.ts'

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

function parseNote(json: unknown): Note | undefined {
  if (typeof json !== 'object' || json === null) return undefined
  if (!('text' in json) || typeof json.text !== 'string') return undefined
  if (!('number' in json) || typeof json.number !== 'number') return undefined
  return { text: json.text, number: json.number }
}
