// The connection to PostgreSQL: one pool, used through Kysely where a query is built, and through `query` where a
// statement runs for every send, and is worth preparing by name.
import { Kysely, PostgresDialect, type PostgresPoolClient } from 'kysely'
import pg from 'pg'
import type { Logger } from './logger.ts'
import type { Tables } from './notifications/tables.ts'

/** Connections of one process. A send holds one for a few milliseconds; more than cores times a few gains nothing. */
export const poolConnectionsMax = 10
/** A writer that meets a lock gives up soon and is retried alone, so that it stalls nobody who shares its batch. */
export const lockTimeoutMs = 100
/** The database ends a statement that takes longer: no page, batch or sweep here is near it. */
export const statementTimeoutMs = 10_000
/** The client gives up on a connection that has gone silent. Above the server's own limit, which says more. */
export const queryTimeoutMs = 12_000
export const connectTimeoutMs = 5_000
/** A transaction that its client forgot holds no lock for longer. */
export const idleInTransactionTimeoutMs = 5_000

export interface Database {
  kysely: Kysely<Tables>
  /** Runs a statement prepared by `name` once a connection; `name` stands for one text for ever. */
  query<Row extends pg.QueryResultRow>(name: string, text: string, values: unknown[]): Promise<Row[]>
  close(): Promise<void>
}

export function connectPostgres(url: string, logger: Logger): Database {
  const pool = new pg.Pool({
    connectionString: url,
    max: poolConnectionsMax,
    connectionTimeoutMillis: connectTimeoutMs,
    query_timeout: queryTimeoutMs,
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
      `statement_timeout=${statementTimeoutMs}`,
      `idle_in_transaction_session_timeout=${idleInTransactionTimeoutMs}`,
    ]
      .map((setting) => `-c ${setting}`)
      .join(' '),
  })
  // An idle connection that breaks is replaced at the next use; whoever uses one gets the error itself. Its reason alone is
  // logged, since pg hangs the whole connection on it.
  pool.on('error', ({ message }) => logger.warn({ reason: message }, 'an idle database connection broke'))
  return {
    kysely: new Kysely<Tables>({
      dialect: new PostgresDialect({ pool: { connect: () => connectForKysely(pool), end: () => pool.end() } }),
    }),
    async query<Row extends pg.QueryResultRow>(name: string, text: string, values: unknown[]) {
      const { client, run, release } = await checkOut(pool)
      try {
        return (await run(() => client.query<Row>({ name, text, values }))).rows
      } finally {
        release()
      }
    },
    close: () => pool.end(),
  }
}

/** Kysely gives connections back without saying what happened to them, so that they are watched meanwhile. */
async function connectForKysely(pool: pg.Pool): Promise<PostgresPoolClient> {
  const { client, run, release } = await checkOut(pool)
  return Object.assign(Object.create(client) as PostgresPoolClient, {
    query: (text: string, values: unknown[]) => run(() => client.query(text, values)),
    release,
  })
}

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
      try {
        return await query()
      } catch (error) {
        if (!(error instanceof pg.DatabaseError)) broken = error instanceof Error ? error : new Error(String(error))
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
  // 08 connection, 40 serialization and deadlock, 53 resources, 57 operator intervention, 55P03 lock timeout,
  // 25006 read-only: a standby that has not been promoted yet.
  if (state !== undefined) return /^(08|40|53|57|55P03|25006)/.test(state)
  // Errors of a connection have a code (ECONNREFUSED); those that pg makes itself have only a text.
  if (!(error instanceof Error)) return false
  const isConnection = 'syscall' in error || ('code' in error && /^E[A-Z]+$/.test(String(error.code)))
  return (
    isConnection ||
    /^(connection terminated|timeout exceeded|query read timeout|client (has encountered|was closed)|cannot use a pool after)/i.test(
      error.message,
    )
  )
}
