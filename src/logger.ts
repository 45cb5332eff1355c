// The log: JSON lines on standard output, pretty on a terminal. Tokens and secrets never reach it: nothing logs headers,
// connection parameters or variables.
import { type DestinationStream, type Logger, pino } from 'pino'
import pretty from 'pino-pretty'

export type { Logger }

export interface LoggerOptions {
  level: string
  /** Human-readable lines instead of JSON. */
  pretty: boolean
  destination?: DestinationStream
}

export function createLogger({ level, pretty: isPretty, destination }: LoggerOptions): Logger {
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime }
  if (isPretty) return pino(options, pretty({ colorize: true, sync: true, destination: destination ?? 1 }))
  return destination ? pino(options, destination) : pino(options)
}
