// Reads one user's inbox: the head of the log, the state version and the counters.
import type { Database } from '../postgres.ts'
import { withRetry } from '../retry.ts'
import type { InboxState } from './notification.ts'
import { type InboxRow, inboxColumns, type Nullable, toInbox } from './rows.ts'

const statement = `select s.epoch, ${inboxColumns} from carillon_state s left join inboxes b on b.user_id = $1`

/** Of a user nobody has sent to: all zero, with the database's epoch. Fails with UNAVAILABLE without the database. */
export async function readInbox(database: Database, userId: string): Promise<InboxState> {
  const [row] = await withRetry(() =>
    database.query<Nullable<InboxRow> & { epoch: string }>('read-inbox', statement, [userId]),
  )
  if (!row) throw new Error('carillon_state has no row')
  return toInbox(userId, row.epoch, row)
}
