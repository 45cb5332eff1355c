// A database of its own for each test file, cloned from one that the global setup migrated.
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { pino } from 'pino'
import { inject } from 'vitest'
import { connectPostgres, type Database } from '../../src/postgres.ts'

export interface TestDatabase extends AsyncDisposable {
  url: string
  database: Database
}

export async function createTestDatabase(): Promise<TestDatabase> {
  const name = `carillon_test_${randomBytes(6).toString('hex')}`
  await administrate(`create database ${name} template ${inject('templateDatabase')}`)
  const url = withDatabase(inject('postgresUrl'), name)
  const database = connectPostgres(url, pino({ level: 'silent' }))
  // A database of its own in the servers' eyes too: the clones share one Redis.
  await database.query(
    'test-identity',
    'update carillon_state set epoch = substr(md5(gen_random_uuid()::text), 1, 16), cursor_key = uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())',
    [],
  )
  return {
    url,
    database,
    async [Symbol.asyncDispose]() {
      await database.close()
      await administrate(`drop database ${name} with (force)`)
    },
  }
}

async function administrate(statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: inject('postgresUrl') })
  await client.connect()
  try {
    await client.query(statement)
  } finally {
    await client.end()
  }
}

export function withDatabase(url: string, name: string): string {
  const result = new URL(url)
  result.pathname = `/${name}`
  return result.href
}
