// What a broadcast is inside the server. Instants are milliseconds since 1970; what is absent is null.
import type { Priority } from '../notifications/notification.ts'
import type { RenderRequest } from '../templates/renderer.ts'

export type BroadcastStatus = 'QUEUED' | 'RUNNING' | 'COMPLETED' | 'CANCELLED' | 'FAILED'

export interface Broadcast {
  /** A UUIDv7. */
  id: string
  status: BroadcastStatus
  category: string
  priority: Priority
  total: number
  sent: number
  failed: number
  skipped: number
  progress: number
  createdAt: number
  startedAt: number | null
  finishedAt: number | null
  error: string | null
}

/** What is sent: the same text to all, or a template as it was when the broadcast was made. */
export type Source = RenderRequest['source']
