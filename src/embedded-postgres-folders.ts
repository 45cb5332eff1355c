// Where the embedded PostgreSQL keeps what it owns, and the account that it runs as: it refuses to be root, so root runs
// it as somebody else, who must be able to reach the files. In the data directory:
//   postgres/       the cluster and its password, the PostgreSQL account's own
//   postgresql-*/   a copy of the programs, only where they can't be run from node_modules
//   postgres.log    what PostgreSQL says
// Folders are made aside and moved into place whole: one that exists is complete. Next: embedded-postgres-programs.ts.
import { execFile } from 'node:child_process'
import { access, chmod, constants, mkdir, mkdtemp, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import type { Logger } from './logger.ts'

/** Who PostgreSQL runs as, where that is not who runs the server. */
export interface Account {
  name: string
  uid: number
  gid: number
}

export interface DataDir {
  path: string
  account: Account | undefined
}

export interface DataDirOptions {
  /** As named by the operator; null: `.carillon` under `cwd`, or `systemDataDir` where PostgreSQL can't reach that. */
  dataDir: string | null
  cwd: string
  /** Of the server process. */
  uid: number
  logger: Logger
  /** Default `/var/lib/carillon`. */
  systemDataDir?: string
}

const unfinishedPrefix = '.unfinished-'
/** Enough for initdb on a slow disk; nothing else comes near it. */
const programMaxMs = 120_000

/** The data directory, made where it is missing. Fails with one line that names it where it can't be used. */
export async function resolveDataDir(options: DataDirOptions): Promise<DataDir> {
  const { dataDir, cwd, uid, logger, systemDataDir = '/var/lib/carillon' } = options
  const path = resolve(cwd, dataDir ?? '.carillon')
  const account = await accountFor(path, uid)
  if (await makeUsable(path, account)) return { path, account }
  const user = account ? `the user ${account.name}, which PostgreSQL runs as` : 'this user'
  if (dataDir === null) {
    const systemAccount = await accountFor(systemDataDir, uid)
    if (await makeUsable(systemDataDir, systemAccount)) {
      logger.info(
        { dataDir: systemDataDir },
        `${path} is out of reach for ${user}: the data directory is ${systemDataDir}`,
      )
      return { path: systemDataDir, account: systemAccount }
    }
  }
  throw new Error(`the data directory ${path} is out of reach for ${user}: set CARILLON_DATA_DIR to another`)
}

/** None but for root; then the owner of the data that is there already, or `postgres`, or `nobody`. */
async function accountFor(dataDir: string, uid: number): Promise<Account | undefined> {
  if (uid !== 0) return undefined
  const owner = await stat(clusterFolder(dataDir)).catch(unlessAbsent)
  if (owner && owner.uid !== 0) return { name: `with id ${owner.uid}`, uid: owner.uid, gid: owner.gid }
  for (const name of ['postgres', 'nobody']) {
    try {
      const [user, group] = await Promise.all([run('id', ['-u', name]), run('id', ['-g', name])])
      return { name, uid: Number(user), gid: Number(group) }
    } catch {
      // No such user: the next one.
    }
  }
  throw new Error('PostgreSQL does not run as root, and there is no user postgres or nobody to run it as')
}

async function makeUsable(path: string, account: Account | undefined): Promise<boolean> {
  try {
    if (account && !(await canEnter(await existingAncestor(dirname(path)), account))) return false
    await mkdir(path, { recursive: true, mode: account ? 0o711 : 0o700 })
    await access(path, constants.W_OK | constants.X_OK)
    if (!account || (await canEnter(path, account))) return true
    // One that is empty, or has our data, is ours to let PostgreSQL pass through: that makes nothing in it readable.
    const names = await readdir(path)
    if (names.length > 0 && !names.includes('postgres')) return false
    await chmod(path, (await stat(path)).mode | 0o011)
    return await canEnter(path, account)
  } catch (error) {
    if (isDenied(error)) return false
    throw error
  }
}

async function existingAncestor(path: string): Promise<string> {
  return (await exists(path)) ? path : await existingAncestor(dirname(path))
}

/** Tried, not worked out from modes: access lists and mount options count too. */
async function canEnter(path: string, account: Account): Promise<boolean> {
  return await run('/bin/sh', ['-c', 'cd "$1"', 'sh', path], account).then(
    () => true,
    () => false,
  )
}

export function clusterFolder(dataDir: string): string {
  return join(dataDir, 'postgres', 'cluster')
}

/**
 * Builds a folder aside and moves it into place whole and durably, unless it is there. Of two who do it at once the
 * first wins, and the other goes on with that.
 */
export async function createOnce(target: string, build: (folder: string) => Promise<void>): Promise<void> {
  if (await exists(target)) return
  const parent = dirname(target)
  const unfinished = await mkdtemp(join(parent, unfinishedPrefix))
  try {
    await build(unfinished)
    await sync(unfinished)
    await rename(unfinished, target)
    await sync(parent)
  } catch (error) {
    if (!(await exists(target))) throw error
  } finally {
    await rm(unfinished, { recursive: true, force: true })
  }
}

/** Removes what starts that were killed left behind. Only for who holds the data directory. */
export async function removeUnfinished(dataDir: string): Promise<void> {
  const names = (await readdir(dataDir)).filter((name) => name.startsWith(unfinishedPrefix))
  // An initdb whose parent was killed may still be writing there: hence the retries.
  for (const name of names) await rm(join(dataDir, name), { recursive: true, force: true, maxRetries: 5 })
}

/** A folder's entries are durable once the folder is synced; PostgreSQL does so inside its own only. */
async function sync(folder: string): Promise<void> {
  const handle = await open(folder)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** What a program is started with: nothing of the server's environment, and a folder that everybody can enter. */
export function launchOptions(account: Account | undefined) {
  const env = { PATH: '/usr/bin:/bin:/usr/sbin:/sbin', LC_ALL: 'C', TZ: 'UTC' }
  return { cwd: '/', env, ...(account && { uid: account.uid, gid: account.gid }) }
}

/** Runs a program to its end and returns what it printed. Fails with the last line that it complained in. */
export async function run(file: string, args: string[], account?: Account): Promise<string> {
  return await new Promise((resolve, reject) => {
    execFile(file, args, { ...launchOptions(account), timeout: programMaxMs }, (error, stdout, stderr) => {
      if (!error) return resolve(stdout)
      const reason = stderr.trim().split('\n').at(-1) || (error.signal ?? error.code ?? error.message)
      reject(new Error(`${basename(file)} failed: ${reason}`, { cause: error }))
    })
  })
}

export async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(unlessAbsent)) !== undefined
}

/** For a rejection: undefined where there is no such file. */
export function unlessAbsent(error: unknown): undefined {
  if (!hasCode(error, ['ENOENT', 'ENOTDIR'])) throw error
}

export function isDenied(error: unknown): boolean {
  return hasCode(error, ['EACCES', 'EPERM', 'EROFS'])
}

function hasCode(error: unknown, codes: string[]): boolean {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code)
}
