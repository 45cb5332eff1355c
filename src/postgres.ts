// The connections to PostgreSQL: one pool, used through Kysely where a query is built, and through `query` where a
// statement runs for every send, and is worth preparing by name; and one connection beside it, which tells the time.
import { setTimeout as sleep } from 'node:timers/promises'
import { Kysely, PostgresDialect, type PostgresPoolClient } from 'kysely'
import pg from 'pg'
import type { Logger } from './logger.ts'
import type { Tables } from './notifications/tables.ts'

/** Connections of one pool. A send holds one for a few milliseconds; more than cores times a few gains nothing. */
export const poolConnectionsMax = 10
/** Of one process: the pool, and the one that the time is asked over. */
export const connectionsMax = poolConnectionsMax + 1
/** A writer that meets a lock gives up soon and is retried alone, so that it stalls nobody who shares its batch. */
export const lockTimeoutMs = 100
/** The database ends a statement that takes longer: no page, batch or sweep here is near it. */
export const statementTimeoutMs = 10_000
/** The client gives up on a connection that has gone silent. Above the server's own limit, which says more. */
export const queryTimeoutMs = 12_000
/** For a connection: one of the pool's to become free, or a new one to be made. */
export const connectTimeoutMs = 5_000
/** To connect, and again to be told the time: a second attempt fits into the time in which the database counts as lost. */
export const askTimeTimeoutMs = 2_000
/** Of a statement of a migration, waiting for another instance that migrates included: as long as Kysely waits for its lock. */
export const migrationTimeoutMs = 3_600_000
/** For the goodbyes of the connections, which a database that is frozen does not answer. */
export const closeTimeoutMs = 2_000
/**
 * A process that takes nothing any more, being frozen or cut off, holds locks for no longer: the database's own limit on
 * statements does not count the time in which it can't hand over a result.
 */
export const unreadResultTimeoutMs = 5_000
/** A transaction that its client forgot holds no lock for longer. */
export const idleInTransactionTimeoutMs = 5_000

export interface Database {
  kysely: Kysely<Tables>
  /** Runs a statement prepared by `name` once a connection; `name` stands for one text for ever. */
  query<Row extends pg.QueryResultRow>(name: string, text: string, values: unknown[]): Promise<Row[]>
  /**
   * What the database's clock says, in milliseconds since 1970. Over a connection of its own, so that it says whether the
   * database answers also while all others are busy. Fails after twice `askTimeTimeoutMs` at the latest.
   */
  askTime(): Promise<number>
  /** For migrations: over a connection of its own, which ends with the work, each statement within `migrationTimeoutMs`. */
  patiently<Result>(work: (kysely: Kysely<Tables>) => Promise<Result>): Promise<Result>
  close(): Promise<void>
}

export interface Deadlines {
  connectMs: number
  queryMs: number
}

const trafficDeadlines: Deadlines = { connectMs: connectTimeoutMs, queryMs: queryTimeoutMs }

/** Connects at the first use. Every call fails within the deadlines for a connection and for a query, whatever happens. */
export function connectPostgres(url: string, logger: Logger, deadlines = trafficDeadlines): Database {
  const pool = openPool(url, logger, { max: poolConnectionsMax, ...deadlines })
  const timePool = openPool(url, logger, { max: 1, connectMs: askTimeTimeoutMs, queryMs: askTimeTimeoutMs })
  return {
    kysely: kyselyOver(pool),
    query: (name, text, values) => query(pool, name, text, values),
    async askTime() {
      const [row] = await query<{ now: number }>(timePool, 'ask-time', askTime, [])
      if (!row) throw new Error('the database did not tell the time')
      return row.now
    },
    async patiently(work) {
      const patience = { connectMs: connectTimeoutMs, queryMs: migrationTimeoutMs, statementMs: migrationTimeoutMs }
      await using kysely = kyselyOver(openPool(url, logger, { max: 1, ...patience }))
      return await work(kysely)
    },
    async close() {
      const ended = Promise.all([pool.end(), timePool.end()])
      await Promise.race([ended, sleep(closeTimeoutMs, undefined, { ref: false })])
    },
  }
}

const askTime = 'select (extract(epoch from clock_timestamp()) * 1000)::float8 as now'

interface PoolOptions extends Deadlines {
  max: number
  statementMs?: number
}

function openPool(url: string, logger: Logger, options: PoolOptions): pg.Pool {
  const { max, connectMs, queryMs, statementMs = statementTimeoutMs } = options
  const pool = new pg.Pool({
    connectionString: url,
    max,
    connectionTimeoutMillis: connectMs,
    query_timeout: queryMs,
    keepAlive: true,
    application_name: 'carillon',
    // A generic plan: planning over the partitions anew for each execution costs more than it gains.
    options: [
      'plan_cache_mode=force_generic_plan',
      // No statement here runs long enough to gain from being compiled; before the first analyze some would be.
      'jit=off',
      'synchronous_commit=on',
      'TimeZone=UTC',
      'default_transaction_isolation=read\\ committed',
      `lock_timeout=${lockTimeoutMs}`,
      `statement_timeout=${statementMs}`,
      `tcp_user_timeout=${unreadResultTimeoutMs}`,
      `idle_in_transaction_session_timeout=${idleInTransactionTimeoutMs}`,
    ]
      .map((setting) => `-c ${setting}`)
      .join(' '),
  })
  // An idle connection that breaks is replaced at the next use; whoever uses one gets the error itself. Its reason alone is
  // logged, since pg hangs the whole connection on it.
  // Not even this hears of a new one that PostgreSQL welcomes and dismisses in the same breath, before it is given out.
  pool.on('connect', (client) => void client.on('error', () => {}))
  pool.on('error', ({ message }) => logger.warn({ reason: message }, 'an idle database connection broke'))
  return pool
}

async function query<Row extends pg.QueryResultRow>(pool: pg.Pool, name: string, text: string, values: unknown[]) {
  const { client, run, release } = await checkOut(pool)
  try {
    return (await run(() => client.query<Row>({ name, text, values }))).rows
  } finally {
    release()
  }
}

function kyselyOver(pool: pg.Pool): Kysely<Tables> {
  return new Kysely({
    dialect: new PostgresDialect({ pool: { connect: () => connectForKysely(pool), end: () => pool.end() } }),
  })
}

/** Kysely gives connections back without saying what happened to them, so that they are watched meanwhile. */
async function connectForKysely(pool: pg.Pool): Promise<PostgresPoolClient> {
  const { client, run, release } = await checkOut(pool)
  return Object.assign(Object.create(client) as PostgresPoolClient, {
    query: (text: string, values: unknown[]) => run(() => client.query(text, values)),
    release,
  })
}

/** With these the database ends the connection itself: 08 protocol, 57P shutdown and crash, 25P03 and 25P04 its time is up. */
const lastWords = /^(08|57P|25P0[34])/

/**
 * A connection of the pool. One whose query timed out still runs it, and one that broke is of no use: both are destroyed
 * on release. One that answered with an error has nothing wrong, and keeps its prepared statements. The pool listens to
 * idle connections alone, and one that breaks while nobody listens would end the process.
 */
async function checkOut(pool: pg.Pool) {
  const client = await pool.connect()
  let broken: Error | undefined
  const breaks = (error: Error) => {
    broken = error
  }
  client.on('error', breaks)
  return {
    client,
    async run<Result>(query: () => Promise<Result>): Promise<Result> {
      // It would wait behind the query that timed out, for as long again: as Kysely's rollback.
      if (broken) throw broken
      try {
        return await query()
      } catch (error) {
        const isUsable = error instanceof pg.DatabaseError && !lastWords.test(error.code ?? '')
        if (!isUsable) broken = error instanceof Error ? error : new Error(String(error))
        throw error
      }
    },
    release() {
      client.off('error', breaks)
      client.release(broken)
    },
  }
}

/** The SQLSTATE of a failure that the database itself answered with. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined
}

/**
 * True where trying again later may succeed: the connection failed, or the database is starting, stopping, out of
 * resources, or gave up on a lock. Says nothing about whether the statement was carried out.
 */
export function isTransient(error: unknown): boolean {
  const state = sqlState(error)
  // 08 connection, 25P03 and 25P04 a transaction whose time is up, 40 serialization and deadlock, 53 resources,
  // 57 operator intervention, 55P03 lock timeout,
  // 25006 read-only: a standby that has not been promoted yet.
  if (state !== undefined) return /^(08|25P0[34]|40|53|57|55P03|25006)/.test(state)
  // Errors of a connection have a code (ECONNREFUSED); those that pg makes itself have only a text.
  if (!(error instanceof Error)) return false
  const isConnection = 'syscall' in error || ('code' in error && /^E[A-Z]+$/.test(String(error.code)))
  return (
    isConnection ||
    /^(connection terminated|timeout (exceeded|expired)|query read timeout|client (has encountered|was closed)|cannot use a pool after)/i.test(
      error.message,
    )
  )
}
