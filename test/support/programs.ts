// Server programs that the tests start. What is missing is installed on Debian for root, and said so; anywhere else the
// tests stop with the line that tells what to install.
import { execFile } from 'node:child_process'
import { access, constants } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A mirror that is slow may need minutes; one that is silent must not hold the tests for ever. */
const installTimeoutMs = 300_000

/** The path of a program, e.g. `requireProgram('redis-server', 'redis-server')`. */
export async function requireProgram(name: string, debianPackage: string): Promise<string> {
  const found = await findProgram(name)
  if (found) return found
  const missing = `${name} is missing: install it and run the tests again (Debian: apt-get install ${debianPackage})`
  if (process.env.CARILLON_TEST_NO_INSTALL === '1' || process.getuid?.() !== 0) throw new Error(missing)
  if (!(await isReadable('/etc/debian_version'))) throw new Error(missing)
  console.log(`${name} is missing: installing the Debian package ${debianPackage} (CARILLON_TEST_NO_INSTALL=1: never)`)
  try {
    await aptGet('update')
    await aptGet('install', '-y', '--no-install-recommends', debianPackage)
  } catch (error) {
    throw new Error(missing, { cause: error })
  }
  const installed = await findProgram(name)
  if (!installed) throw new Error(missing)
  return installed
}

async function findProgram(name: string): Promise<string | undefined> {
  // Debian keeps some servers where only root's PATH looks.
  const directories = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin']
  for (const directory of directories) {
    const path = join(directory, name)
    if (directory && (await isReadable(path, constants.X_OK))) return path
  }
  return undefined
}

async function isReadable(path: string, mode = constants.R_OK): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  )
}

async function aptGet(...parameters: string[]): Promise<void> {
  // Another installation may hold the lock.
  await run('apt-get', ['-o', 'DPkg::Lock::Timeout=120', ...parameters], {
    timeout: installTimeoutMs,
    maxBuffer: 64 * 1024 * 1024,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  })
}
