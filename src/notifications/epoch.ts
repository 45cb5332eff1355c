// The epoch names this database's history. It is part of every cursor, and rides in doorbells, pages and tail checks:
// where it changed, what clients hold is of another history, and their subscriptions end with CURSOR_INVALID.
import { type Database, sqlState } from '../postgres.ts'

/**
 * Begins another history, and returns its name. For an operator who restored a backup or lost commits in a failover: from
 * then on no cursor from before is taken for one of the numbers that are given out anew.
 */
export async function rotateEpoch(database: Database): Promise<string> {
  const { epoch } = await onlyRow<{ epoch: string }>(
    database,
    'rotate-epoch',
    'update carillon_state set epoch = substr(md5(gen_random_uuid()::text), 1, 16) returning epoch',
  )
  return epoch
}

/** The key that signs cursors; the same for every instance, and it stays when the epoch changes. */
export async function readCursorKey(database: Database): Promise<Buffer> {
  const { key } = await onlyRow<{ key: Buffer }>(database, 'cursor-key', 'select cursor_key as key from carillon_state')
  return key
}

/** Both are the first to be asked of a database, and its operator may have forgotten something. */
async function onlyRow<Row extends object>(database: Database, name: string, text: string): Promise<Row> {
  const [row] = await database.query<Row>(name, text, []).catch((error: unknown) => {
    if (sqlState(error) !== undefinedTable) throw error
    throw new Error('the database has no tables of Carillon yet: run `carillon migrate`', { cause: error })
  })
  if (!row) throw new Error('carillon_state has no row')
  return row
}

const undefinedTable = '42P01'
