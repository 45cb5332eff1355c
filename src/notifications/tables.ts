// The tables as Kysely sees them (migrations/). Instants are read and written through SQL expressions that turn them into
// milliseconds (log.ts), so their column type here is opaque.
import type { ColumnType, Generated } from 'kysely'

type Timestamp = ColumnType<Date, Date | string, Date | string>

export interface Tables {
  carillon_state: {
    only_row: Generated<boolean>
    epoch: Generated<string>
    cursor_key: Generated<Buffer>
    retained_from: Generated<Timestamp>
  }
  inboxes: {
    user_id: string
    last_created_at: Timestamp
    previous_created_at: Timestamp | null
    delivered_created_at: Generated<Timestamp>
    state_version: Generated<string>
    last_seq: number
    delivered_seq: Generated<number>
    undelivered: Generated<number>
    unseen: Generated<number>
    unread: Generated<number>
    has_devices: Generated<boolean>
  }
  notifications: {
    created_at: Timestamp
    expires_at: Timestamp | null
    delivered_at: Timestamp | null
    seen_at: Timestamp | null
    read_at: Timestamp | null
    archived_at: Timestamp | null
    retracted_at: Timestamp | null
    id: string
    seq: number
    priority: number
    swept: Generated<boolean>
    user_id: string
    category: string
    title: string
    body: string | null
    data: string | null
    url: string | null
  }
  idempotency_keys: {
    sender: string
    operation: string
    key: string
    user_id: string
    hash: Buffer
    id: string
    at: Generated<Timestamp>
  }
}
