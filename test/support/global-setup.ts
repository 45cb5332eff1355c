// Runs once before all test files: a PostgreSQL and a Redis for the tests alone, and a migrated database to clone.
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { pino } from 'pino'
import type { TestProject } from 'vitest/node'
import { migrate } from '../../src/migrate.ts'
import { connectPostgres } from '../../src/postgres.ts'
import { createReleases } from '../../src/releases.ts'
import { startTestPostgres } from './postgres.ts'
import { startTestRedis } from './redis.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Of a superuser, to the database `postgres`. */
    postgresUrl: string
    redisUrl: string
    templateDatabase: string
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const releases = createReleases()
  try {
    const postgres = await startTestPostgres()
    releases.push(() => postgres[Symbol.asyncDispose]())
    const redis = await startTestRedis()
    releases.push(() => redis[Symbol.asyncDispose]())
    const templateDatabase = `carillon_template_${randomBytes(4).toString('hex')}`
    const admin = new pg.Client({ connectionString: postgres.url })
    await admin.connect()
    releases.push(() => admin.end())
    await admin.query(`create database ${templateDatabase}`)
    releases.push(async () => void (await admin.query(`drop database ${templateDatabase} with (force)`)))
    const url = new URL(postgres.url)
    url.pathname = `/${templateDatabase}`
    const database = connectPostgres(url.href, pino({ level: 'silent' }))
    await migrate(database).finally(() => database.close())
    project.provide('postgresUrl', postgres.url)
    project.provide('redisUrl', redis.url)
    project.provide('templateDatabase', templateDatabase)
    return () => releases.run()
  } catch (error) {
    await releases.run()
    throw error
  }
}
