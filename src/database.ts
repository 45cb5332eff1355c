// Which PostgreSQL: the one that DATABASE_URL names, or the embedded one, started here and stopped with the server.
import type { Config } from './config.ts'
import { startEmbeddedPostgres } from './embedded-postgres.ts'
import { messageOf } from './errors.ts'
import type { Logger } from './logger.ts'
import { connectPostgres, type Database } from './postgres.ts'

/** What of the process a server has to know; main.ts reads it. */
export interface Surroundings {
  logger: Logger
  /** Past the logger, for a person who has just started it. */
  print(line: string): void
  cwd: string
  /** Null where the system has none. */
  uid: number | null
  pid: number
}

export interface OpenDatabase {
  database: Database
  /** Of the embedded PostgreSQL; null with another. */
  dataDir: string | null
  close(): Promise<void>
}

export async function openDatabase(config: Config, { logger, cwd, uid, pid }: Surroundings): Promise<OpenDatabase> {
  if (config.databaseUrl !== null) {
    const database = connectPostgres(config.databaseUrl, logger)
    try {
      await database.query('reach', 'select 1', [])
    } catch (error) {
      await database.close()
      throw new Error(`the PostgreSQL of DATABASE_URL can not be used: ${messageOf(error)}`, { cause: error })
    }
    return { database, dataDir: null, close: () => database.close() }
  }
  if (uid === null) throw new Error('the embedded PostgreSQL does not run on this system: set DATABASE_URL')
  const postgres = await startEmbeddedPostgres({ dataDir: config.dataDir, cwd, uid, pid, logger })
  const database = connectPostgres(postgres.url, logger)
  const close = async () => {
    await database.close()
    await postgres.stop()
  }
  return { database, dataDir: postgres.dataDir, close }
}
