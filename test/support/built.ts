// The program as it is installed: compiled, and started as a process of its own in a folder of its own.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')

export interface Built extends AsyncDisposable {
  /** The file to run. */
  main: string
}

/** A defect to plant in the compiled program, so that a test can show that it would notice; or a shorter deadline. */
export interface Sabotage {
  /** Of the compiled program, such as `bus/probe.js`. */
  file: string
  find: string
  replace: string
}

export async function build(sabotage: readonly Sabotage[] = []): Promise<Built> {
  const folder = await mkdtemp(join(tmpdir(), 'carillon-test-built-'))
  // Other users run it too.
  await chmod(folder, 0o755)
  const compiler = join(root, 'node_modules/typescript/bin/tsc')
  const compiling = spawn(
    process.execPath,
    [compiler, '-p', join(root, 'tsconfig.build.json'), '--outDir', join(folder, 'dist')],
    { stdio: 'ignore' },
  )
  // It writes the program even where types don't fit; the type check tells about those.
  await once(compiling, 'close')
  for (const { file, find, replace } of sabotage) {
    const path = join(folder, 'dist', file)
    const text = await readFile(path, 'utf8')
    if (text.split(find).length !== 2) throw new Error(`${file} does not have this once: ${find}`)
    await writeFile(
      path,
      text.replace(find, () => replace),
    )
  }
  for (const name of ['node_modules', 'migrations', 'schema', 'package.json']) {
    await symlink(join(root, name), join(folder, name))
  }
  return { main: join(folder, 'dist/main.js'), [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) }
}

export interface Running {
  process: ChildProcess
  /** What it wrote until now. */
  stdout(): string
  stderr(): string
  /** Resolves once standard output fits. Fails where it ends before that. */
  printed(pattern: RegExp): Promise<RegExpExecArray>
  /** Its exit status, once it has ended and all it wrote was read. */
  ended: Promise<number | null>
  end(signal: NodeJS.Signals): Promise<number | null>
}

/** Runs it with nothing but these variables set, in a terminal of nobody. */
export function run(
  built: Pick<Built, 'main'>,
  args: string[],
  { cwd, env = {}, uid }: { cwd: string; env?: Record<string, string>; uid?: number | undefined },
): Running {
  const child = spawn(process.execPath, [built.main, ...args], {
    cwd,
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(uid !== undefined && { uid, gid: uid }),
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  let hasEnded = false
  const ended = once(child, 'close').then(([status]: (number | null)[]) => {
    hasEnded = true
    return status ?? null
  })
  return {
    process: child,
    stdout: () => stdout,
    stderr: () => stderr,
    async printed(pattern) {
      for (;;) {
        const match = pattern.exec(stdout)
        if (match) return match
        if (hasEnded) throw new Error(`it ended with: ${stdout}${stderr}`)
        await Promise.race([once(child.stdout, 'data'), ended])
      }
    },
    ended,
    end(signal) {
      child.kill(signal)
      return ended
    },
  }
}

export interface EmptyFolder extends AsyncDisposable {
  path: string
  /** Of the embedded PostgreSQL that was started here last; undefined where none was, or it was stopped properly. */
  postmasterPid(): Promise<number | undefined>
}

/** At the end whatever PostgreSQL still runs there is killed. */
export async function emptyFolder(owner?: number): Promise<EmptyFolder> {
  const path = await mkdtemp(join(tmpdir(), 'carillon-test-start-'))
  await chmod(path, 0o755)
  if (owner !== undefined) await chown(path, owner, owner)
  const postmasterPid = async () => {
    const text = await readFile(join(path, '.carillon/postgres/cluster/postmaster.pid'), 'utf8').catch(() => '')
    return Number(text.split('\n')[0]) || undefined
  }
  return {
    path,
    postmasterPid,
    async [Symbol.asyncDispose]() {
      const pid = await postmasterPid()
      if (pid !== undefined && isAlive(pid)) process.kill(pid, 'SIGQUIT')
      // What was killed may still be writing for a moment.
      await rm(path, { recursive: true, force: true, maxRetries: 10 })
    },
  }
}

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
