// The retention task: coming weeks' partitions are made ahead, and those past the retention time dropped whole. What is
// in them has been hidden and taken off the counters before (sweep.ts). How either is done: partitions.ts.
import type { Database } from '../postgres.ts'
import { createPartitions, dropPartitions } from './partitions.ts'
import { milliseconds } from './rows.ts'

/** How often to run: partitions are made weeks ahead, and disk space can wait an hour. */
export const retentionIntervalMs = 3_600_000

export interface Retention {
  /** Returns how many partitions it made and dropped. May run in many instances at once. */
  run(): Promise<{ created: number; dropped: number }>
}

const boundary = `select ${milliseconds("least(retained_from, now() - $1::float8 * interval '1 millisecond')")} as before
  from carillon_state`

export function createRetention({ database, retentionMs }: { database: Database; retentionMs: number }): Retention {
  return {
    async run() {
      const created = await createPartitions(database)
      const [row] = await database.query<{ before: number }>('retention-boundary', boundary, [retentionMs])
      if (!row) throw new Error('carillon_state has no row')
      return { created, dropped: await dropPartitions(database, row.before) }
    },
  }
}
