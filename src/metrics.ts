// The metrics, under the names of the operating contract. Seconds and totals; no user id in a label. Whoever causes an
// event counts it through the objects here.
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

export type Metrics = ReturnType<typeof createMetrics>

/** From a local doorbell (about a millisecond) to a replay after a weekend. */
const latencyBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 3600]

export function createMetrics() {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  return {
    registry,
    connectionsActive: new Gauge({
      name: 'carillon_connections_active',
      help: 'Open connections that may carry subscriptions.',
      labelNames: ['transport'],
      registers,
    }),
    connectionsRejected: new Counter({
      name: 'carillon_connections_rejected_total',
      help: 'Connections refused, by reason.',
      labelNames: ['reason'],
      registers,
    }),
    subscriptionsActive: new Gauge({
      name: 'carillon_subscriptions_active',
      help: 'Running subscriptions to an inbox.',
      registers,
    }),
    notificationsAccepted: new Counter({
      name: 'carillon_notifications_accepted_total',
      help: 'Notifications committed to the log.',
      labelNames: ['priority'],
      registers,
    }),
    rateLimited: new Counter({
      name: 'carillon_rate_limited_total',
      help: "Notifications refused for their sender's rate, by mutation.",
      labelNames: ['operation'],
      registers,
    }),
    deliveries: new Counter({
      name: 'carillon_deliveries_total',
      help: 'Notifications handed over (sent), or lost to a broken write (failed; they come again).',
      labelNames: ['channel', 'status'],
      registers,
    }),
    deliveryLatency: new Histogram({
      name: 'carillon_delivery_latency_seconds',
      help: 'From accepted to handed over, of live notifications.',
      labelNames: ['channel'],
      buckets: latencyBuckets,
      registers,
    }),
    replayed: new Counter({
      name: 'carillon_replayed_total',
      help: 'Notifications read from the log for a subscription that had just begun.',
      registers,
    }),
    gapHeals: new Counter({
      name: 'carillon_gap_heals_total',
      help: 'Times that a live subscription missed a doorbell, by what healed it: waiting a moment, or one read of the log.',
      labelNames: ['cause'],
      registers,
    }),
    slowConsumers: new Counter({
      name: 'carillon_slow_consumers_total',
      help: 'Subscriptions whose mailbox overflowed, and connections closed for making no progress.',
      registers,
    }),
    busPublishErrors: new Counter({
      name: 'carillon_bus_publish_errors_total',
      help: 'Doorbells that could not be rung; the tail check delivers in their stead.',
      registers,
    }),
    busLag: new Gauge({
      name: 'carillon_bus_lag_seconds',
      help: 'Round trip of the last probe through the bus.',
      registers,
    }),
  }
}
