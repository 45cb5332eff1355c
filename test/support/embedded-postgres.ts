// For the tests of the embedded PostgreSQL: data directories, and servers in processes of their own, to be killed.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import pg from 'pg'
import { pino } from 'pino'
import { type EmbeddedPostgresOptions, startEmbeddedPostgres } from '../../src/embedded-postgres.ts'
import { packagedPrograms } from '../../src/embedded-postgres-programs.ts'

const execute = promisify(execFile)
const root = join(import.meta.dirname, '../..')
export const uid = process.getuid?.() ?? -1
export const isRoot = uid === 0
export const nobody = 65_534
export const logger = pino({ level: 'silent' })

// Other users are to read what is written here.
process.umask(0o022)

/** Not where the checkout, or Node itself, is in a folder that only root can enter. */
export const isOpenToNobody =
  isRoot &&
  (await execute(process.execPath, ['-e', 'require(process.argv[1])', join(root, 'node_modules/pino')], {
    uid: nobody,
    gid: nobody,
    cwd: '/',
  }).then(
    () => true,
    () => false,
  ))

/** What is to be killed runs as a process of its own, compiled, since Node 20 does not run TypeScript. */
let program: string

/** Once for a test file. */
export async function buildProgram(): Promise<AsyncDisposable> {
  const build = await mkdtemp(join(tmpdir(), 'carillon-test-build-'))
  await chmod(build, 0o755)
  program = join(build, 'dist/program.mjs')
  const tsconfig = {
    extends: join(root, 'tsconfig.build.json'),
    compilerOptions: {
      rootDir: join(root, 'src'),
      outDir: join(build, 'dist'),
      typeRoots: [join(root, 'node_modules/@types')],
    },
    files: [join(root, 'src/embedded-postgres.ts')],
    include: [],
  }
  await writeFile(join(build, 'tsconfig.json'), JSON.stringify(tsconfig))
  await writeFile(join(build, 'package.json'), JSON.stringify({ type: 'module' }))
  await symlink(join(root, 'node_modules'), join(build, 'node_modules'))
  await execute(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(build, 'tsconfig.json')])
  await writeFile(
    program,
    `import { pino } from 'pino'
     import { startEmbeddedPostgres } from './embedded-postgres.js'
     const surroundings = { cwd: process.cwd(), uid: process.getuid(), pid: process.pid, logger: pino({ level: 'silent' }) }
     try {
       const postgres = await startEmbeddedPostgres({ durable: false, ...JSON.parse(process.argv[2]), ...surroundings })
       process.once('SIGTERM', () => postgres.stop().then(() => process.exit()))
       console.log(JSON.stringify(postgres))
     } catch (error) {
       console.log(JSON.stringify({ error: error.message }))
       process.exitCode = 1
     }`,
  )
  return { [Symbol.asyncDispose]: () => rm(build, { recursive: true }) }
}

interface Outcome {
  process: ChildProcess
  url: string
  adopted: boolean
  error?: string
}

export async function end({ process }: Outcome, signal: NodeJS.Signals): Promise<void> {
  const exited = once(process, 'exit')
  process.kill(signal)
  await exited
}

export async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => undefined)
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

export async function postmasterPid(dataDir: string): Promise<number> {
  return Number((await readFile(join(dataDir, 'postgres/cluster/postmaster.pid'), 'utf8')).split('\n')[0])
}

export const kept = 'select text from kept'
export const keep = (text: string) => `create table kept as select '${text}' as text`

/** A data directory that doesn't exist yet. At the end whatever still runs there is killed. */
export async function freshDataDir(owner?: number) {
  const folder = await mkdtemp(join(tmpdir(), 'carillon-test-embedded-'))
  await chmod(folder, 0o711)
  if (owner !== undefined) await chown(folder, owner, owner)
  const path = join(folder, 'data')
  const children: ChildProcess[] = []
  const run = (options: object = {}) => {
    const child = spawn(process.execPath, [program, JSON.stringify({ dataDir: path, ...options })], {
      cwd: dirname(program),
      stdio: ['ignore', 'pipe', 'inherit'],
      ...(owner !== undefined && { uid: owner, gid: owner }),
    })
    children.push(child)
    return child
  }
  return {
    folder,
    path,
    run,
    embed: (options: Partial<EmbeddedPostgresOptions> = {}) =>
      startEmbeddedPostgres({ dataDir: path, cwd: folder, uid, pid: process.pid, logger, durable: false, ...options }),
    /** A server in a process of its own, once it is ready or has failed. */
    async launch(options?: object): Promise<Outcome> {
      const process = run(options)
      for await (const line of createInterface(process.stdout)) return { process, ...JSON.parse(line) }
      throw new Error('it ended without a word')
    },
    async [Symbol.asyncDispose]() {
      for (const child of children) child.kill('SIGKILL')
      const pid = await postmasterPid(path).catch(() => undefined)
      if (pid !== undefined && isGroupLeader(pid)) process.kill(-pid, 'SIGKILL')
      // What was killed may still be writing for a moment.
      await rm(folder, { recursive: true, force: true, maxRetries: 10 })
    },
  }
}

export function isGroupLeader(pid: number): boolean {
  try {
    return process.kill(-pid, 0)
  } catch {
    return false
  }
}

/** As npm leaves them where it may not run install scripts. */
export async function programsWithoutLinks(folder: string): Promise<string> {
  const packaged = packagedPrograms()
  const native = join(folder, 'package/native')
  const links: { target: string }[] = JSON.parse(await readFile(join(packaged, 'pg-symlinks.json'), 'utf8'))
  const missing = new Set(links.map(({ target }) => join(packaged, '..', target)))
  await cp(packaged, native, { recursive: true, filter: (path) => !missing.has(path) })
  await cp(join(packaged, '../package.json'), join(folder, 'package/package.json'))
  return native
}
