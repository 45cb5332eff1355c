// The metrics, under the names of the operating contract. Seconds and totals; no user id in a label. Whoever causes an
// event counts it through the objects here.
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

export type Metrics = ReturnType<typeof createMetrics>

/** From a local doorbell (about a millisecond) to a replay after a weekend. */
const latencyBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 3600]

/** What waits in a queue of one priority. */
export interface QueueState {
  priority: string
  depth: number
  /** Since the oldest of them came; 0 where there is none. */
  oldestSeconds: number
}

export function createMetrics() {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  const queues = new Map<string, () => Promise<QueueState[]>>()
  let reading: Promise<void> | undefined
  const collect = () => {
    reading ??= readQueues().finally(() => {
      reading = undefined
    })
    return reading
  }
  const queueDepth = new Gauge({
    name: 'carillon_queue_depth',
    help: 'What waits: of broadcasts the users still to come. Read from the database at each scrape, the same in all instances.',
    labelNames: ['queue', 'priority'],
    registers,
    collect,
  })
  const queueOldest = new Gauge({
    name: 'carillon_queue_oldest_seconds',
    help: 'How long the oldest has waited.',
    labelNames: ['queue'],
    registers,
    collect,
  })

  async function readQueues(): Promise<void> {
    const all = [...queues].map(async ([queue, read]) => {
      // Without the database nobody knows, which missing series say; that it is away is said elsewhere.
      const states = await read().catch(() => [])
      return { queue, states }
    })
    const read = await Promise.all(all)
    queueDepth.reset()
    queueOldest.reset()
    for (const { queue, states } of read) {
      for (const { priority, depth } of states) queueDepth.set({ queue, priority }, depth)
      if (states.length > 0) queueOldest.set({ queue }, Math.max(...states.map(({ oldestSeconds }) => oldestSeconds)))
    }
  }

  return {
    registry,
    /** Has the queue read at each scrape. */
    watchQueue: (queue: string, read: () => Promise<QueueState[]>) => void queues.set(queue, read),
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
    broadcastRecipients: new Counter({
      name: 'carillon_broadcast_recipients_total',
      help: 'Users that a broadcast came to: sent, failed (could not be rendered for) or skipped (over their rate limit).',
      labelNames: ['outcome'],
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
