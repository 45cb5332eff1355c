// A PostgreSQL that a test may kill, freeze, back up and restore. Durable, as in production: what it answered is on disk.
import { execFile } from 'node:child_process'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import pg from 'pg'
import { pino } from 'pino'
import { resolveDataDir } from '../../../src/embedded-postgres-folders.ts'
import {
  databaseUser,
  findPostmaster,
  openCluster,
  startPostmaster,
  stopPostmaster,
} from '../../../src/embedded-postgres-postmaster.ts'
import { preparePrograms } from '../../../src/embedded-postgres-programs.ts'
import { isAlive } from '../../support/built.ts'
import { freePort } from '../../support/redis.ts'

const execute = promisify(execFile)
const startMsMax = 30_000
const connectionsMax = 100

export interface Postgres extends AsyncDisposable {
  /** Of a superuser; the same after each start. */
  readonly url: string
  /** Ends every process of it at once, as the machine's end would. */
  kill(): Promise<void>
  /** Ends it properly. */
  stop(): Promise<void>
  /** Takes connections when it returns. */
  start(): Promise<void>
  /** Its processes stay, and do nothing. */
  freeze(): Promise<void>
  thaw(): Promise<void>
  /** Copies a stopped one's files aside, and puts them back. */
  backUp(): Promise<void>
  restore(): Promise<void>
  query<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>
}

/** `environment` are variables for its processes. */
export async function startPostgres({ environment = {} }: { environment?: Record<string, string> } = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'carillon-faults-'))
  // PostgreSQL does not run as root, and has to reach it.
  await chmod(folder, 0o755)
  const dataDir = join(folder, 'data')
  const options = { dataDir, cwd: folder, uid: process.getuid?.() ?? -1, logger: pino({ level: 'silent' }) }
  const { account } = await resolveDataDir(options)
  const packaged = await preparePrograms(dataDir, account)
  const wrapped = { ...packaged, postgres: await wrap(packaged.postgres, folder, environment) }
  const programs = Object.keys(environment).length > 0 ? wrapped : packaged
  const cluster = await openCluster({ dataDir, programs, account, durable: true, connectionsMax })
  const port = await freePort()
  const backup = join(folder, 'backup')

  /** Its processes, the first of them stopped. */
  async function holdAll(): Promise<number[]> {
    const postmaster = await findPostmaster(cluster)
    if (!postmaster) return []
    // Or it could start another while its children are listed.
    signal(postmaster.pid, 'SIGSTOP')
    return [postmaster.pid, ...(await childrenOf(postmaster.pid))]
  }

  async function start(): Promise<void> {
    const started = await startPostmaster(cluster, port)
    const giveUpAt = Date.now() + startMsMax
    while (!(await findPostmaster(cluster))?.isReady) {
      if (started.hasExited() || Date.now() > giveUpAt) throw new Error(await started.lastWords())
      await sleep(10)
    }
  }

  async function kill(): Promise<void> {
    const all = await holdAll()
    for (const pid of all) signal(pid, 'SIGKILL')
    while (all.some(isAlive) && !(await areZombies(all))) await sleep(5)
  }

  await start()
  const postgres: Postgres = {
    url: `postgres://${databaseUser}:${cluster.password}@127.0.0.1:${port}/postgres`,
    kill,
    stop: () => stopPostmaster(cluster),
    start,
    async freeze() {
      for (const pid of await holdAll()) signal(pid, 'SIGSTOP')
    },
    async thaw() {
      for (const pid of await holdAll()) signal(pid, 'SIGCONT')
    },
    async backUp() {
      await copy(cluster.folder, backup)
    },
    async restore() {
      await copy(backup, cluster.folder)
    },
    async query<Row extends pg.QueryResultRow>(text: string, values: unknown[] = []) {
      const client = new pg.Client({ connectionString: postgres.url })
      // The query itself fails too.
      client.on('error', () => {})
      await client.connect()
      try {
        return (await client.query<Row>(text, values)).rows
      } finally {
        await client.end()
      }
    },
    async [Symbol.asyncDispose]() {
      for (const pid of await holdAll()) signal(pid, 'SIGCONT')
      await kill()
      await rm(folder, { recursive: true, force: true, maxRetries: 10 })
    },
  }
  return postgres
}

/** A program in its place that starts it with more variables. */
async function wrap(program: string, folder: string, environment: Record<string, string>): Promise<string> {
  const wrapper = join(folder, 'postgres')
  const variables = Object.entries(environment).map(([name, value]) => `export ${name}='${value}'\n`)
  await writeFile(wrapper, `#!/bin/sh\n${variables.join('')}exec '${program}' "$@"\n`, { mode: 0o755 })
  return wrapper
}

/** In its place, owners and all. By processes of their own, since this one may have a load to keep up. */
async function copy(from: string, to: string): Promise<void> {
  await execute('rm', ['-rf', to])
  await execute('cp', ['-a', from, to])
}

function signal(pid: number, name: NodeJS.Signals): void {
  // It may have ended meanwhile.
  if (isAlive(pid)) process.kill(pid, name)
}

/** The processes that one has started. */
export async function childrenOf(pid: number): Promise<number[]> {
  const { stdout } = await execute('ps', ['-eo', 'pid=,ppid='])
  const processes = stdout.split('\n').map((line) => line.trim().split(/\s+/).map(Number))
  return processes.flatMap(([child = 0, parent]) => (parent === pid ? [child] : []))
}

/** Of a killed process nothing is left but its entry, until its parent asks. */
async function areZombies(pids: number[]): Promise<boolean> {
  const { stdout } = await execute('ps', ['-eo', 'pid=,stat='])
  const states = new Map(stdout.split('\n').map((line) => line.trim().split(/\s+/) as [string, string]))
  return pids.every((pid) => states.get(String(pid))?.startsWith('Z') ?? true)
}
