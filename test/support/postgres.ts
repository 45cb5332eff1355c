// A PostgreSQL for the tests: the one that TEST_DATABASE_URL names, or one of our own.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { startEmbeddedPostgres } from '../../src/embedded-postgres.ts'

export interface TestServer extends AsyncDisposable {
  url: string
}

/** Each test file has a few pools, and files run side by side. */
const connectionsMax = 300

export async function startTestPostgres(): Promise<TestServer> {
  const url = process.env.TEST_DATABASE_URL
  if (url) return { url, async [Symbol.asyncDispose]() {} }
  const dataDir = await mkdtemp(join(tmpdir(), 'carillon-test-postgres-'))
  const remove = () => rm(dataDir, { recursive: true, force: true })
  try {
    const postgres = await startEmbeddedPostgres({
      dataDir,
      cwd: dataDir,
      uid: process.getuid?.() ?? -1,
      pid: process.pid,
      logger: pino({ level: 'silent' }),
      durable: false,
      connectionsMax,
    })
    return {
      url: postgres.url,
      async [Symbol.asyncDispose]() {
        await postgres.stop().finally(remove)
      },
    }
  } catch (error) {
    await remove()
    throw error
  }
}
