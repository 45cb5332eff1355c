// Takes a notification back. The row stays, hidden, until its partition goes: its seq must not be missing to a reader
// that counts.
import type { Bus } from '../bus/bus.ts'
import type { Database } from '../postgres.ts'
import { withRetry } from '../retry.ts'
import { changeStatement, stillThere, takesAll } from './change.ts'
import type { Doorbell } from './doorbell.ts'
import { type InboxRow, moment, toInbox, visible } from './rows.ts'
import { isUuid } from './uuid.ts'

/** False where there is none to see: unknown, expired, past the retention time, or retracted before. */
export type Retract = (id: string) => Promise<boolean>

export interface RetractOptions {
  database: Database
  bus: Bus<Doorbell>
  retentionMs: number
}

interface RetractedRow extends InboxRow {
  user_id: string
  epoch: string
}

const statement = changeStatement({
  first: `moment as (${moment('$1')})`,
  candidate: `select n.user_id, n.created_at, n.seq from notifications n where n.id = $2 and ${visible}`,
  open: stillThere,
  set: 'retracted_at = greatest(now(), n.created_at)',
  takes: takesAll,
  result: 'select m.epoch, u.* from updated u cross join moment m',
})

export function createRetract({ database, bus, retentionMs }: RetractOptions): Retract {
  return async (id) => {
    if (!isUuid(id)) return false
    const [row] = await withRetry(() => database.query<RetractedRow>('retract', statement, [retentionMs, id]))
    if (!row) return false
    const inbox = toInbox(row.user_id, row.epoch, row)
    const message: Doorbell = { inbox, news: { kind: 'removed', ids: [id.toLowerCase()], bumps: 1 } }
    await bus.publish([{ userId: row.user_id, message }])
    return true
  }
}
