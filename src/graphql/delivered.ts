// Tells a subscription's source, and the metrics, how far an event came on its connection.
import type { Transport, TransportMetrics } from '../connections/transport-metrics.ts'
import type { InboxEvent } from '../notifications/events.ts'
import type { SourceObserver } from './subscribe-operation.ts'

/** The operating system has the event. */
export function written(
  event: unknown,
  observer: SourceObserver,
  transport: Transport,
  metrics: TransportMetrics,
): void {
  observer.written?.(event)
  if (!isNotification(event)) return
  const { replayed, notification } = event
  metrics.delivered(transport, replayed ? null : notification.createdAt)
}

/** Its write broke. */
export function failed(event: unknown, transport: Transport, metrics: TransportMetrics): void {
  if (isNotification(event)) metrics.failed(transport)
}

/** Where a client that has this event resumes; null for events of a stream that starts anew each time. */
export function cursorOf(event: unknown): string | null {
  return isInboxEvent(event) ? event.cursor : null
}

function isNotification(event: unknown): event is InboxEvent & { __typename: 'NotificationReceived' } {
  return isInboxEvent(event) && event.__typename === 'NotificationReceived'
}

function isInboxEvent(event: unknown): event is InboxEvent {
  return typeof event === 'object' && event !== null && '__typename' in event && 'cursor' in event
}
