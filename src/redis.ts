// A connection to Redis that never gives up and never queues: it reconnects for ever, and a command is answered or fails
// within a bound, so that nobody waits for a Redis that is away. bus/bus-redis.ts holds two of them.
import { Redis, ReplyError } from 'ioredis'
import type { Logger } from './logger.ts'

/**
 * An answer that takes longer is a failure. Redis answers in less than a millisecond; a second is a stalled one. Where
 * nothing at all arrives for so long, the connection is made anew: ioredis keeps a command that timed out until its
 * connection ends, and whoever comes next is refused at once instead of waiting as long.
 */
export const commandTimeoutMs = 1_000
/** Addresses that drop packets would otherwise hold a connection attempt for minutes. */
const connectTimeoutMs = 2_000
/** Reconnects start here and double, with jitter, so that a fleet does not come back in one moment. */
const reconnectDelayMinMs = 50
const reconnectDelayMaxMs = 1_000
/** How often a Redis that is reading its data from disk is asked whether it has, whatever it estimates. */
const loadingRetryMsMax = 1_000
/** A goodbye that the other end does not answer: the socket is destroyed then. */
const disconnectTimeoutMs = 100

export interface RedisConnection {
  readonly client: Redis
  /** Why commands fail now, in one line; undefined while connected. */
  problem(): string | undefined
  /** Gives up a connection that has gone silent, and makes a new one. Does nothing while one is being made already. */
  reconnect(): void
  /** Commands under way fail. */
  close(): Promise<void>
}

/**
 * Connects in the background. `url` is redis:// or rediss://, with user, password and database as need be; `name` is
 * what `CLIENT LIST` and the log call the connection. Throws on an address that it can't be.
 */
export function connectRedis(url: string, { name, logger }: { name: string; logger: Logger }): RedisConnection {
  if (/,\s*rediss?:/i.test(url)) throw new Error('several Redis addresses (a cluster) are not supported: give one')
  if (!/^rediss?:\/\//i.test(url)) throw new Error('a Redis address begins with redis:// or rediss://')
  const client = new Redis(url, {
    connectionName: name,
    connectTimeout: connectTimeoutMs,
    disconnectTimeout: disconnectTimeoutMs,
    commandTimeout: commandTimeoutMs,
    socketTimeout: commandTimeoutMs,
    retryStrategy: reconnectDelayMs,
    maxLoadingRetryTime: loadingRetryMsMax,
    enableOfflineQueue: false,
    // What was under way when a connection broke fails at once, and is not repeated behind the caller's back.
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
  })
  let closing = false
  let failure: string | undefined
  // The reason alone is logged: an error of ioredis carries the command's arguments, which are passwords and messages.
  const fail = (reason: string) => {
    if (closing || reason === failure) return
    failure = reason
    logger.warn({ connection: name, reason }, 'Redis is not reachable')
  }
  client.on('error', (error) => fail(reasonOf(error)))
  client.on('close', () => {
    if (failure === undefined) fail('the connection was closed')
  })
  client.on('ready', () => {
    if (failure !== undefined) logger.info({ connection: name }, 'Redis is reachable again')
    failure = undefined
  })
  return {
    client,
    problem: () => (client.status === 'ready' ? undefined : (failure ?? 'connecting')),
    reconnect() {
      if (client.status === 'ready' || client.status === 'connect') client.disconnect(true)
    },
    async close() {
      closing = true
      // Between two attempts there is no socket whose end could be waited for.
      const hasSocket = client.status !== 'end' && client.status !== 'reconnecting'
      const ended = hasSocket ? new Promise<void>((resolve) => client.once('end', resolve)) : undefined
      client.disconnect()
      await ended
    },
  }
}

/** True of an error that Redis answered with; the connection works. */
export function isAnswer(error: unknown): boolean {
  return error instanceof ReplyError
}

/** The message of what Redis, ioredis or the network answered. Some errors of Node have a code alone. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.message) return error.message
  return 'code' in error ? String(error.code) : error.name
}

function reconnectDelayMs(attempt: number): number {
  const delayMs = Math.min(reconnectDelayMinMs * 2 ** attempt, reconnectDelayMaxMs)
  return delayMs / 2 + Math.random() * delayMs
}
