// The epoch names this database's history. It is part of every cursor, and rides in doorbells, pages and tail checks:
// where it changed, what clients hold is of another history, and their subscriptions end with CURSOR_INVALID.
import type { Database } from '../postgres.ts'

/**
 * Begins another history, and returns its name. For an operator who restored a backup or lost commits in a failover: from
 * then on no cursor from before is taken for one of the numbers that are given out anew.
 */
export async function rotateEpoch(database: Database): Promise<string> {
  const [row] = await database.query<{ epoch: string }>(
    'rotate-epoch',
    'update carillon_state set epoch = substr(md5(gen_random_uuid()::text), 1, 16) returning epoch',
    [],
  )
  if (!row) throw new Error('carillon_state has no row')
  return row.epoch
}

/** The key that signs cursors; the same for every instance, and it stays when the epoch changes. */
export async function readCursorKey(database: Database): Promise<Buffer> {
  const [row] = await database.query<{ key: Buffer }>('cursor-key', 'select cursor_key as key from carillon_state', [])
  if (!row) throw new Error('carillon_state has no row')
  return row.key
}
