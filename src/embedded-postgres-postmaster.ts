// One PostgreSQL cluster and its postmaster: made, found, started, stopped. A postmaster outlives the process that started
// it, so everything here works by the files in the cluster's folder, whoever started it.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chown, open, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { platform } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type Account,
  clusterFolder,
  createOnce,
  launchOptions,
  run,
  unlessAbsent,
} from './embedded-postgres-folders.ts'
import type { Programs } from './embedded-postgres-programs.ts'

export interface Cluster {
  folder: string
  log: string
  password: string
  programs: Programs
  account: Account | undefined
  /** Handed over at each start, so that a new version of the server changes them. */
  settings: string[]
}

export interface ClusterOptions {
  dataDir: string
  programs: Programs
  account: Account | undefined
  durable: boolean
  connectionsMax: number
}

export interface Postmaster {
  pid: number
  port: number
  /** It listens, and is neither starting nor shutting down. */
  isReady: boolean
}

export interface StartedPostmaster {
  pid: number | undefined
  hasExited(): boolean
  /** Why it exited: the last line of the log that says so, since this start. */
  lastWords(): Promise<string>
  /** Ends it at once; the next start recovers. */
  kill(): void
}

export const databaseUser = 'carillon'
/** The log is moved aside at a start where it is larger, so the two together hold about twice this and one run's. */
const logBytesMax = 1024 * 1024
/** How long a shutdown may take, the checkpoint of all that is in memory included, before it is forced. */
const shutdownMaxMs = 30_000
const immediateShutdownMaxMs = 5_000
const pollMs = 20

/** Opens the cluster of a data directory, made on first use. Its password goes no further than its owner. */
export async function openCluster(options: ClusterOptions): Promise<Cluster> {
  const { dataDir, programs, account, durable, connectionsMax } = options
  const home = join(dataDir, 'postgres')
  await createOnce(home, async (unfinished) => {
    const passwordFile = join(unfinished, 'password')
    await writeFile(passwordFile, randomBytes(24).toString('hex'), { mode: 0o600, flush: true })
    if (account) for (const path of [passwordFile, unfinished]) await chown(path, account.uid, account.gid)
    const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8']
    const access = [`--username=${databaseUser}`, '--auth=scram-sha-256', `--pwfile=${passwordFile}`]
    const durability = durable ? [] : ['--no-sync']
    await run(programs.initdb, ['-D', join(unfinished, 'cluster'), ...locale, ...access, ...durability], account)
  })
  const settings = [
    'listen_addresses=127.0.0.1',
    'unix_socket_directories=',
    `max_connections=${connectionsMax}`,
    'shared_buffers=128MB',
    // Reads are of one page of one user; workers would need more of /dev/shm than a container has.
    'max_parallel_workers_per_gather=0',
    'jit=off',
    // Errors go to the client, which logs those that matter; here they would fill the log with every lock timeout.
    'log_min_messages=log',
    'log_checkpoints=off',
    ...(durable ? [] : ['fsync=off', 'full_page_writes=off']),
  ]
  const password = await readFile(join(home, 'password'), 'utf8')
  return { folder: clusterFolder(dataDir), log: join(dataDir, 'postgres.log'), password, programs, account, settings }
}

/** The postmaster of this cluster that is alive, in whatever state: starting, ready or shutting down. */
export async function findPostmaster(cluster: Cluster): Promise<Postmaster | undefined> {
  const postmaster = await readPidFile(cluster)
  return postmaster.pid > 0 && (await isPostmaster(postmaster.pid, cluster)) ? postmaster : undefined
}

/**
 * PostgreSQL takes any living process of its own account for the postmaster that a stale file names. Where that process
 * is another program, as happens in a container, whose process ids begin anew, the file is removed.
 */
export async function removeForeignPidFile(cluster: Cluster): Promise<void> {
  const { pid } = await readPidFile(cluster)
  if (pid > 0 && !(await isPostmaster(pid, cluster))) await rm(pidFile(cluster), { force: true })
}

const pidFile = (cluster: Cluster) => join(cluster.folder, 'postmaster.pid')

async function readPidFile(cluster: Cluster): Promise<Postmaster> {
  const text = await readFile(pidFile(cluster), 'utf8').catch(unlessAbsent)
  // Lines: process id, folder, time of start, port, socket folder, address, shared memory, state.
  const [pid, , , port, , , , state] = (text ?? '').split('\n')
  return { pid: Number(pid), port: Number(port), isReady: state?.trim() === 'ready' }
}

/** A process id may be in use again by anything; its command line tells. */
async function isPostmaster(pid: number, cluster: Cluster): Promise<boolean> {
  return (await commandLine(pid)).includes(` -D ${cluster.folder} `)
}

async function commandLine(pid: number): Promise<string> {
  if (platform() !== 'linux') return await run('ps', ['-ww', '-o', 'args=', '-p', String(pid)]).catch(() => '')
  // Reading the file of a process that has just ended fails with ESRCH.
  return await readFile(`/proc/${pid}/cmdline`, 'utf8').then(
    (text) => text.replaceAll('\0', ' '),
    () => '',
  )
}

/** Starts a postmaster in a process group of its own, so that a Ctrl-C in the terminal reaches the server alone. */
export async function startPostmaster(cluster: Cluster, port: number): Promise<StartedPostmaster> {
  const { programs, folder, settings, account } = cluster
  const { log, size } = await openLog(cluster.log)
  try {
    const args = ['-D', folder, ...[...settings, `port=${port}`].flatMap((setting) => ['-c', setting])]
    const stdio = ['ignore', log.fd, log.fd] as const
    const child = spawn(programs.postgres, args, { ...launchOptions(account), detached: true, stdio: [...stdio] })
    await once(child, 'spawn')
    child.unref()
    return {
      pid: child.pid,
      hasExited: () => child.exitCode !== null || child.signalCode !== null,
      async lastWords() {
        const lines = (await readFile(cluster.log)).subarray(size).toString().trim().split('\n')
        return lines.findLast((line) => /FATAL|PANIC/.test(line)) ?? lines.at(-1) ?? ''
      },
      kill: () => void child.kill('SIGQUIT'),
    }
  } finally {
    await log.close()
  }
}

async function openLog(path: string) {
  const log = await open(path, 'a', 0o600)
  const { size } = await log.stat()
  if (size <= logBytesMax) return { log, size }
  await log.close()
  await rename(path, `${path}.1`)
  return { log: await open(path, 'a', 0o600), size: 0 }
}

/** Ends the postmaster, whoever started it: a fast shutdown, and where that takes too long an immediate one. */
export async function stopPostmaster(cluster: Cluster): Promise<void> {
  const running = await findPostmaster(cluster)
  if (!running) return
  // By its process id: `pg_ctl stop` would go on to one that another server starts as soon as this one is gone.
  if (await endedBy('INT', running.pid, cluster, shutdownMaxMs)) return
  if (await endedBy('QUIT', running.pid, cluster, immediateShutdownMaxMs)) return
  throw new Error(`PostgreSQL (pid ${running.pid}) did not stop: see ${cluster.log}`)
}

async function endedBy(signal: 'INT' | 'QUIT', pid: number, cluster: Cluster, maxMs: number): Promise<boolean> {
  const { programs, account } = cluster
  const deadline = performance.now() + maxMs
  try {
    await run(programs.pgCtl, ['kill', signal, String(pid)], account)
  } catch (error) {
    if (await isPostmaster(pid, cluster)) throw error
  }
  while (await isPostmaster(pid, cluster)) {
    if (performance.now() > deadline) return false
    await sleep(pollMs)
  }
  return true
}
