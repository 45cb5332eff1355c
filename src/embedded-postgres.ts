// The embedded PostgreSQL: with no database configured the server runs one of its own, and this starts it, adopts the one
// that a killed server left running, starts it again when it dies, and ends it. One session holds an advisory lock for as
// long as the server runs. It is both the lock on the data directory, which dies with its holder however that ends, and
// the watch over PostgreSQL, since it breaks when PostgreSQL goes away.
// Next: embedded-postgres-postmaster.ts, embedded-postgres-folders.ts.
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { realpath } from 'node:fs/promises'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { type DataDirOptions, removeUnfinished, resolveDataDir } from './embedded-postgres-folders.ts'
import {
  type Cluster,
  databaseUser,
  findPostmaster,
  openCluster,
  removeForeignPidFile,
  type StartedPostmaster,
  startPostmaster,
  stopPostmaster,
} from './embedded-postgres-postmaster.ts'
import { preparePrograms } from './embedded-postgres-programs.ts'
import { sqlState } from './postgres.ts'

export { resolveDataDir } from './embedded-postgres-folders.ts'

export interface EmbeddedPostgresOptions extends DataDirOptions {
  /** Of the server process, named to a second one that is refused. */
  pid: number
  /** Default: a free one, another at each start. */
  port?: number
  /** Default true. False survives no crash of the machine: for tests. */
  durable?: boolean
  /** Default 100. */
  connectionsMax?: number
  /** The folder that has bin, lib and share. Default: that of the npm package. */
  programs?: string
}

export interface EmbeddedPostgres {
  /** Of a superuser, and good until `stop`: when PostgreSQL dies it comes back on the same port. */
  url: string
  /** The one really used. */
  dataDir: string
  /** True where a PostgreSQL was found running that a killed server had left. */
  adopted: boolean
  /** Ends PostgreSQL. */
  stop(): Promise<void>
}

/** How long one that starts (and recovers) or shuts down is waited for. */
const readyMaxMs = 60_000
/** A start takes half a second; this adds little to it. */
const pollMs = 20
/** After a start that failed for a reason that passes: the last backends of a killed postmaster, a port just taken. */
const startAgainMs = 200
const restartDelayMaxMs = 5_000
/** A killed server's session ends as soon as PostgreSQL reads the end of its connection. */
const lockWaitMs = 2_000
const connectMaxMs = 5_000
const lockKey = [0x63617269, 1]
/** Below the range that outgoing connections take their ports from: a restart finds its port free. */
const ports = { min: 20_000, max: 32_767 }
const portAttemptsMax = 50

interface Holding {
  port: number
  adopted: boolean
  session: pg.Client
  /** Settles when the session has ended, whatever the reason. */
  lost: Promise<void>
}

interface Launch {
  cluster: Cluster
  dataDir: string
  pid: number
  signal: AbortSignal
}

/**
 * Ready to be connected to when it returns. Fails with one line where the data directory can't be used, is in use by
 * another server, or PostgreSQL does not start.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { logger, pid, durable = true, connectionsMax = 100 } = options
  const startedAt = performance.now()
  const { path, account } = await resolveDataDir(options)
  // PostgreSQL is known by the folder in its command line: one name for it, whatever links lead there.
  const dataDir = await realpath(path)
  const programs = await preparePrograms(dataDir, account, options.programs)
  const cluster = await openCluster({ dataDir, programs, account, durable, connectionsMax })
  const stopping = new AbortController()
  const launch = { cluster, dataDir, pid, signal: stopping.signal }
  const first = await hold(launch, options.port)
  const { port, adopted } = first
  logger.info(
    { dataDir, port, adopted, user: account?.name, ms: Math.round(performance.now() - startedAt) },
    adopted ? 'the embedded PostgreSQL was still running' : 'the embedded PostgreSQL is running',
  )

  let holds = true
  const supervise = async () => {
    for (let holding: Holding | undefined = first; holding; holding = await holdAgain()) {
      holds = true
      if (stopping.signal.aborted) await stopPostmaster(cluster)
      await holding.lost
      holds = false
      if (stopping.signal.aborted) return
      logger.error({ dataDir }, 'the embedded PostgreSQL went away; starting it again')
    }
  }
  const holdAgain = async () => {
    for (let delayMs = startAgainMs; ; delayMs = Math.min(delayMs * 2, restartDelayMaxMs)) {
      try {
        const holding = await hold(launch, port)
        logger.info({ dataDir, port }, 'the embedded PostgreSQL is back')
        return holding
      } catch (error) {
        if (stopping.signal.aborted) return undefined
        logger.error({ err: error, delayMs }, 'the embedded PostgreSQL did not come back; trying again')
        await sleep(delayMs, undefined, { signal: stopping.signal }).catch(() => undefined)
      }
    }
  }
  const supervised = supervise()
  await removeUnfinished(dataDir).catch((error: unknown) =>
    logger.warn({ err: error }, 'a folder could not be removed'),
  )

  let stopped: Promise<unknown> | undefined
  return {
    url: `postgres://${databaseUser}:${cluster.password}@127.0.0.1:${port}/postgres?sslmode=disable`,
    dataDir,
    adopted,
    async stop() {
      stopping.abort()
      // One that another server has taken over since is not ours to end; one that is being started ends in `hold`.
      stopped ??= Promise.all([holds ? stopPostmaster(cluster) : undefined, supervised])
      await stopped
    },
  }
}

/**
 * Finds the postmaster or starts one, waits until it answers, and takes the lock. Of several who do this at once one
 * gets the lock; the postmaster may be another's child by then, which makes no difference. With `wanted`, a postmaster on
 * another port is started anew on that one.
 */
async function hold(launch: Launch, wanted?: number): Promise<Holding> {
  const { cluster, signal } = launch
  const deadline = performance.now() + readyMaxMs
  let started: StartedPostmaster | undefined
  while (performance.now() < deadline) {
    const running = await findPostmaster(cluster)
    // One that recovers from a crash is waited for, or it would go on without anybody.
    if (signal.aborted && (started || !running)) {
      started?.kill()
      throw new Error('stopped')
    }
    if (running) {
      const taken = running.isReady ? await takeLock(launch, running.port) : undefined
      if (taken && (wanted === undefined || wanted === running.port)) {
        return { ...taken, port: running.port, adopted: running.pid !== started?.pid }
      }
      if (taken) {
        await stopPostmaster(cluster)
        await taken.session.end()
      }
    } else if (!started) {
      started = await startPostmaster(cluster, wanted ?? (await freePort()))
    } else if (started.hasExited()) {
      await failUnlessPassing(launch, await started.lastWords(), wanted)
      started = undefined
      await sleep(startAgainMs)
    }
    await sleep(pollMs)
  }
  throw new Error(`PostgreSQL in ${launch.dataDir} is not ready after ${readyMaxMs / 1000} s: see ${cluster.log}`)
}

async function failUnlessPassing({ cluster }: Launch, lastWords: string, wanted?: number): Promise<void> {
  // Another server was a moment faster, or a file is stale.
  if (lastWords.includes('lock file')) return await removeForeignPidFile(cluster)
  if (lastWords.includes('shared memory block')) return
  if (lastWords.includes('could not create any TCP/IP sockets') && wanted === undefined) return
  throw new Error(`PostgreSQL did not start: ${lastWords} (see ${cluster.log})`)
}

/** Nothing where PostgreSQL does not answer yet, or no longer. */
async function takeLock({ cluster, dataDir, pid }: Launch, port: number) {
  const session = new pg.Client({
    host: '127.0.0.1',
    port,
    user: databaseUser,
    password: cluster.password,
    database: 'postgres',
    ssl: false,
    application_name: `carillon pid ${pid}`,
    connectionTimeoutMillis: connectMaxMs,
    lock_timeout: lockWaitMs,
    query_timeout: connectMaxMs,
    keepAlive: true,
  })
  // The end that follows says as much.
  session.on('error', () => undefined)
  const lost = new Promise<void>((resolve) => session.once('end', () => resolve()))
  try {
    await session.connect()
    await session.query('select pg_advisory_lock($1, $2)', lockKey)
    return { session, lost }
  } catch (error) {
    const state = sqlState(error)
    if (state?.startsWith('28')) throw new Error(`PostgreSQL in ${dataDir} refuses its password`, { cause: error })
    if (state === '55P03') {
      const holder = await lockHolder(session).finally(() => session.end())
      throw new Error(`data directory ${dataDir} is in use by another carillon (${holder})`, { cause: error })
    }
    await session.end()
    return undefined
  }
}

async function lockHolder(session: pg.Client): Promise<string> {
  const { rows } = await session.query<{ name: string }>(
    `select substr(application_name, 10) as name from pg_locks join pg_stat_activity using (pid)
     where locktype = 'advisory' and classid = $1 and objid = $2 and objsubid = 2 and granted`,
    lockKey,
  )
  return rows[0]?.name ?? 'which has just ended'
}

async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < portAttemptsMax; attempt++) {
    const port = randomInt(ports.min, ports.max + 1)
    const server = createServer().listen(port, '127.0.0.1')
    try {
      await once(server, 'listening')
      return port
    } catch {
      // Taken: the next one.
    } finally {
      if (server.listening) await new Promise((resolve) => server.close(resolve))
    }
  }
  throw new Error('no free port found for PostgreSQL')
}
