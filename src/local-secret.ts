// The JWT secret of embedded mode: made on first start, kept in the data directory, readable by its owner alone.
import { randomBytes } from 'node:crypto'
import { link, open, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { jwtSecretBytesMin } from './settings.ts'

/**
 * Reads the secret in a data directory that exists, or makes it. Atomic: whoever starts at the same moment gets the same
 * one, and a crash leaves a whole secret or none.
 */
export async function localSecret(dataDir: string): Promise<string> {
  const path = join(dataDir, 'jwt-secret')
  const secret = (await read(path)) ?? (await make(path))
  if (Buffer.byteLength(secret) < jwtSecretBytesMin) {
    throw new Error(`${path} holds no secret of ${jwtSecretBytesMin} bytes: remove it, and a new one is made`)
  }
  return secret
}

async function make(path: string): Promise<string> {
  const draft = `${path}.${randomBytes(6).toString('hex')}`
  try {
    const file = await open(draft, 'wx', 0o600)
    try {
      await file.writeFile(`${randomBytes(jwtSecretBytesMin).toString('base64url')}\n`)
      await file.sync()
    } finally {
      await file.close()
    }
    // Unlike a rename, this never replaces the secret of somebody who was faster.
    await link(draft, path).catch((error: unknown) => {
      if (!hasCode(error, 'EEXIST')) throw error
    })
  } finally {
    await rm(draft, { force: true })
  }
  return (await read(path)) ?? ''
}

async function read(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
