// The delivering parts of the program as src/server.ts wires them, over a log in memory in the place of PostgreSQL: for
// workloads A and B, in which no peer stores anything either. Numbers, cursors, doorbells, the tail check: all of it is on.

import { setImmediate } from 'node:timers/promises'
import { ready } from './common.mjs'
import { serveControl } from './control.mjs'

const load = (file) => import(`../../dist/${file}.js`)
const [{ createAuth }, { createMemoryBus }, { createRedisBus }, { startHealth }, { createHttpServer }] =
  await Promise.all(['auth', 'bus/bus-memory', 'bus/bus-redis', 'health', 'http'].map(load))
const [{ createSchema }, { createMetrics }, { createCursors }, { parseDoorbell }, { createNotificationResolvers }] =
  await Promise.all(
    ['graphql/schema', 'metrics', 'notifications/cursor', 'notifications/doorbell', 'notifications/resolvers'].map(
      load,
    ),
  )
const [{ groupItemsMax }, { createSend }, { createSubscribe }, { createTailCheck }, { newId }, { validateContent }] =
  await Promise.all(
    ['group-commit', 'send', 'subscribe', 'tail-check', 'uuid', 'validate'].map((file) =>
      load(`notifications/${file}`),
    ),
  )
const { pino } = await import('pino')

const epoch = '0102030405060708'
const logger = pino({ level: 'warn' })
const metrics = createMetrics()
const cursors = createCursors(Buffer.alloc(32, 1))
const clock = { now: () => Date.now(), async adjust() {} }
const inboxes = new Map()

function inboxOf(userId) {
  const known = inboxes.get(userId)
  if (known) return known
  const inbox = { userId, epoch, seq: 0, createdAt: 0, stateVersion: 0, undelivered: 0, unseen: 0, unread: 0 }
  inboxes.set(userId, inbox)
  return inbox
}

const log = {
  async read(requests) {
    return requests.map(({ userId }) => {
      const inbox = { ...inboxOf(userId) }
      const upTo = { seq: inbox.seq, createdAt: inbox.createdAt }
      return { inbox, notifications: [], upTo, isComplete: true, isSameLog: true, isNextThere: true }
    })
  },
  async heads(userIds) {
    const heads = userIds.map((userId) => {
      const { seq, createdAt, stateVersion } = inboxOf(userId)
      return [userId, { seq, createdAt, stateVersion }]
    })
    return { epoch, heads: new Map(heads) }
  },
}

const append = {
  async append(items) {
    // As an answer over a socket does, it comes in a later turn of the event loop.
    await setImmediate()
    const now = Date.now()
    const before = new Map()
    const rows = items.map(({ idempotency, ...content }) => {
      const inbox = inboxOf(content.userId)
      if (!before.has(content.userId)) before.set(content.userId, inbox.seq > 0 ? inbox.createdAt : null)
      inbox.seq += 1
      inbox.createdAt = Math.max(inbox.createdAt, now)
      inbox.undelivered += 1
      inbox.unseen += 1
      inbox.unread += 1
      const marks = { deliveredAt: null, seenAt: null, readAt: null, archivedAt: null }
      return { seq: inbox.seq, createdAt: inbox.createdAt, epoch, ...content, ...marks }
    })
    return rows.map((notification) => {
      const { userId } = notification
      return { notification, inbox: { createdAtBefore: before.get(userId), ...inboxOf(userId) } }
    })
  },
  findFirst: async () => [],
  findUnlocked: async (userIds) => userIds,
}

const url = process.env.BENCH_REDIS_URL
const channels = Number(process.env.BENCH_CHANNELS ?? 1)
const joinRedis = () => createRedisBus({ url, channels, prefix: 'bench', logger, parse: parseDoorbell })
// `two`: the sender's bus is not the receivers', as between two instances. Otherwise the two meet on one.
const bus = process.env.BENCH_BUS === 'memory' ? createMemoryBus({ logger }) : joinRedis()
const senderBus = process.env.BENCH_BUS === 'two' ? joinRedis() : bus
const tailCheck = createTailCheck({ log, intervalMs: 5_000, logger })
const send = createSend({ append, bus: senderBus, clock, limit: null, metrics, onUnexpected: fail })
const subscribe = createSubscribe({ log, bus, tailCheck, cursors, clock, metrics, logger })
const server = createHttpServer({
  host: '127.0.0.1',
  port: 0,
  schema: createSchema(createNotificationResolvers({ ...send, cursors, subscribe })),
  auth: createAuth({ secret: process.env.BENCH_JWT_SECRET }),
  logger,
  health: startHealth({ clock, bus, logger }),
  allowedOrigins: [],
  graphiql: false,
  introspection: false,
  maxBodyBytes: 1024 ** 2,
  maxMessageBytes: 64 * 1024,
  maxConnections: 50_000,
  maxConnectionsPerUser: 10,
  maxSubscriptionsPerSocket: 100,
  initTimeoutMs: 10_000,
  keepaliveMs: 12_000,
  metrics: {
    opened() {},
    closed() {},
    rejected: fail,
    delivered(channel, at) {
      metrics.deliveries.inc({ channel, status: 'sent' })
      if (at !== null) metrics.deliveryLatency.observe({ channel }, Math.max(0, clock.now() - at) / 1000)
    },
    failed() {},
    slowConsumer: fail,
  },
})
const { url: address } = await server.listen()
const control = await serveControl(
  (userId, body) => void send.send('bench', { userId, title: 'bench', body }).catch(fail),
  (body, users) => void broadcast(body, users).catch(fail),
)
ready({ port: Number(new URL(address).port), control })

/** The same to all: each has it in their own log, appended and rung by as many as one statement takes. */
async function broadcast(body, users) {
  const content = validateContent({ userId: 'all', title: 'bench', body })
  for (let first = 0; first < users; first += groupItemsMax) {
    const items = Array.from({ length: Math.min(groupItemsMax, users - first) }, (_, index) => ({
      id: newId(),
      ...content,
      userId: `user-${first + index}`,
      idempotency: null,
    }))
    const appended = await append.append(items)
    await senderBus.publish(
      appended.map(({ notification, inbox }) => ({
        userId: notification.userId,
        message: { inbox, news: { kind: 'received', notifications: [notification] } },
      })),
    )
  }
}

function fail(reason) {
  console.error(reason)
  return reason
}
