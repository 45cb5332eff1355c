// Brings a database to the schema that this version needs. Forward only; one process at a time, the others wait
// (Kysely's migrator locks). The files in migrations/ are frozen once released.
import { readdir, readFile } from 'node:fs/promises'
import { CompiledQuery, type Kysely, type Migration, type MigrationProvider, Migrator, sql } from 'kysely'
import { createPartitions } from './notifications/partitions.ts'
import type { Database } from './postgres.ts'

const directory = new URL('../migrations/', import.meta.url)

/** The names of the migrations that it carried out, in order; none where the schema is current. */
export async function migrate(database: Database): Promise<string[]> {
  const { error, results = [] } = await database.patiently(async (db) => {
    // Kysely would take another schema's migrations for those of this one.
    const { rows } = await sql<{ name: string }>`select current_schema() as name`.execute(db)
    return new Migrator({
      db,
      provider: sqlFiles,
      ...(rows[0] && { migrationTableSchema: rows[0].name }),
      migrationTableName: 'carillon_migrations',
      migrationLockTableName: 'carillon_migrations_lock',
    }).migrateToLatest()
  })
  if (error) throw error
  await createPartitions(database)
  return results.map(({ migrationName }) => migrationName)
}

const sqlFiles: MigrationProvider = {
  async getMigrations() {
    const names = (await readdir(directory)).filter((name) => name.endsWith('.sql')).sort()
    return Object.fromEntries(names.map((name) => [name.replace(/\.sql$/, ''), sqlFile(name)]))
  },
}

function sqlFile(name: string): Migration {
  return {
    async up(db: Kysely<unknown>) {
      // A busy database is no reason to fail half-way: the limit of the connection is for traffic.
      await db.executeQuery(CompiledQuery.raw("set local lock_timeout = '10s'"))
      await db.executeQuery(CompiledQuery.raw(await readFile(new URL(name, directory), 'utf8')))
    },
  }
}
