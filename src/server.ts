// The composition root: everything that a server consists of, in the order in which it starts. Read top to bottom.
import { createHash, randomUUID } from 'node:crypto'
import { createAuth, scopes } from './auth.ts'
import { createAppendBatch } from './broadcasts/append-batch.ts'
import { createCreateBroadcast } from './broadcasts/create.ts'
import { forgetBroadcasts } from './broadcasts/end.ts'
import { startBroadcastEngine } from './broadcasts/engine.ts'
import { createProgress } from './broadcasts/progress.ts'
import { readQueue } from './broadcasts/queue.ts'
import { createBroadcastResolvers, createFindBroadcast } from './broadcasts/resolvers.ts'
import { createWork } from './broadcasts/worker.ts'
import type { Bus } from './bus/bus.ts'
import { createMemoryBus } from './bus/bus-memory.ts'
import { createRedisBus } from './bus/bus-redis.ts'
import { type Clock, createClock } from './clock.ts'
import { type Config, ConfigError } from './config.ts'
import { allowedConnections } from './connections/file-limit.ts'
import { createMetricsRoute } from './connections/metrics-route.ts'
import type { TransportMetrics } from './connections/transport-metrics.ts'
import { openDatabase, type Surroundings } from './database.ts'
import { formatError } from './graphql/errors.ts'
import { createNodeResolvers } from './graphql/node.ts'
import { createSchema } from './graphql/schema.ts'
import { startHealth } from './health.ts'
import { createHttpServer } from './http.ts'
import { localSecret } from './local-secret.ts'
import type { Logger } from './logger.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import { migrate } from './migrate.ts'
import { createAcknowledge } from './notifications/acknowledge.ts'
import { createAppend } from './notifications/append.ts'
import { createCursors } from './notifications/cursor.ts'
import { type Doorbell, parseDoorbell } from './notifications/doorbell.ts'
import { readCursorKey } from './notifications/epoch.ts'
import { createHistory } from './notifications/history.ts'
import { createLog } from './notifications/log.ts'
import { createFindNode, createNotificationResolvers } from './notifications/resolvers.ts'
import { createRetention, retentionIntervalMs } from './notifications/retention.ts'
import { createRetract } from './notifications/retract.ts'
import { createSend } from './notifications/send.ts'
import { createSendLimit } from './notifications/send-limit.ts'
import { createSubscribe } from './notifications/subscribe.ts'
import { createSweep, sweepIntervalMs } from './notifications/sweep.ts'
import { createTailCheck } from './notifications/tail-check.ts'
import { startPeriodic } from './periodic.ts'
import { createReleases } from './releases.ts'
import { createRenderer } from './templates/renderer.ts'
import { createFindTemplate, createTemplateResolvers } from './templates/resolvers.ts'
import { createTemplates } from './templates/templates.ts'
import { signToken } from './token.ts'
import { createDirectory } from './users/directory.ts'
import { createUserResolvers } from './users/resolvers.ts'

export interface Server {
  url: string
  /** Drains connections, finishes what is in flight, and ends everything that was started. */
  close(): Promise<void>
}

const dayMs = 24 * 3600 * 1000
/** Of the tokens that an embedded server prints: long enough for an afternoon's work and the week after. */
const printedTokenTtlSeconds = 7 * 24 * 3600

/** Resolves when it takes requests. Fails where anything it needs can't be had, having released what it got. */
export async function startServer(config: Config, surroundings: Surroundings): Promise<Server> {
  const releases = createReleases()
  try {
    return await start(config, surroundings, releases)
  } catch (error) {
    await releases.run()
    throw error
  }
}

async function start(config: Config, surroundings: Surroundings, releases: ReturnType<typeof createReleases>) {
  const { logger, print } = surroundings
  const { sendRatePerMinute } = config
  const retentionMs = config.retentionDays * dayMs
  const metrics = createMetrics()

  const { database, dataDir, close: closeDatabase } = await openDatabase(config, surroundings)
  releases.push(closeDatabase)
  const keys = await authKeys(config, dataDir)
  const auth = createAuth(keys, logger)
  if (config.migrate) {
    for (const name of await migrate(database)) logger.info({ migration: name }, 'migrated the database')
  }

  const clock = createClock(() => database.askTime())
  // A machine that starts much at once may miss the deadline, which is short for the sake of the health check.
  await clock.adjust().catch(() => clock.adjust())
  const cursorKey = await readCursorKey(database)
  const bus = createBus(config, cursorKey, metrics, logger)
  releases.push(() => bus.close())

  const append = createAppend(database)
  const log = createLog(database, retentionMs)
  const cursors = createCursors(cursorKey)
  const tailCheck = createTailCheck({ log, intervalMs: config.tailCheckMs, logger })
  releases.push(() => tailCheck.stop())
  bus.onResume(() => {
    tailCheck
      .checkAll()
      .catch((error: unknown) => logger.warn({ err: error }, 'checking after the bus came back failed'))
  })

  const sweep = createSweep({ database, bus, retentionMs })
  const sweeping = startPeriodic('sweep', sweepIntervalMs, logger, () => sweep.run())
  releases.push(() => sweeping.stop())
  const retention = createRetention({ database, retentionMs })
  const retain = async () => void (await retention.run())
  const retaining = startPeriodic('retention', retentionIntervalMs, logger, retain)
  releases.push(() => retaining.stop())

  const renderer = createRenderer()
  releases.push(() => renderer.close())
  const templates = createTemplates({ database, renderer })
  const work = createWork({
    database,
    bus,
    renderer,
    appendBatch: createAppendBatch(database, config.userRatePerMinute),
    metrics,
    logger,
    batchUsers: config.broadcastBatch,
  })
  const engine = startBroadcastEngine({ database, work, logger, concurrency: config.broadcastConcurrency })
  releases.push(() => engine.stop())
  const forget = () => forgetBroadcasts(database, retentionMs)
  const forgetting = startPeriodic('forget-broadcasts', retentionIntervalMs, logger, forget)
  releases.push(() => forgetting.stop())
  metrics.watchQueue('broadcasts', () => readQueue(database))
  const progress = createProgress(database, logger)
  releases.push(() => progress.stop())

  const history = createHistory({ database, cursors, retentionMs })
  const schema = createSchema(
    createNodeResolvers(
      createFindNode({ database, history }),
      createFindTemplate(templates),
      createFindBroadcast(database),
    ),
    createNotificationResolvers({
      ...createSend({
        append,
        bus,
        clock,
        limit: sendRatePerMinute === 0 ? null : createSendLimit({ database, perMinute: sendRatePerMinute }),
        metrics,
        onUnexpected: (error) => formatError(error, randomUUID(), logger),
      }),
      database,
      cursors,
      history,
      acknowledge: createAcknowledge({ database, bus, retentionMs }),
      retract: createRetract({ database, bus, retentionMs }),
      subscribe: createSubscribe({ log, bus, tailCheck, cursors, clock, metrics, logger }),
    }),
    createUserResolvers(createDirectory(database)),
    createTemplateResolvers(templates),
    createBroadcastResolvers({
      database,
      create: createCreateBroadcast({ database, templates, now: clock.now, onQueued: engine.wake }),
      progress,
    }),
  )

  // Where nobody migrates, this week's partition may be missing after weeks of standing still.
  if (!config.migrate) {
    await retain().catch((error: unknown) => logger.error({ err: error }, 'the partitions could not be looked after'))
  }
  const health = startHealth({ clock, bus, logger })
  releases.push(() => health.stop())
  const maxConnections = await allowedConnections(config.maxConnections, logger)
  const http = createHttpServer({
    ...config,
    maxConnections,
    schema,
    auth,
    logger,
    health,
    routes: { '/metrics': createMetricsRoute({ registry: metrics.registry, auth }) },
    metrics: transportMetrics(metrics, clock),
  })
  const { url } = await http.listen()
  health.started()
  logger.info({ url }, 'the server is ready')

  if (dataDir !== null) await printWelcome(print, url, config, keys)
  return {
    url,
    async close() {
      await http.close({ drainMs: config.drainMs })
      await releases.run()
      logger.info('the server has stopped')
    },
  }
}

type Keys = Parameters<typeof createAuth>[0]

async function authKeys(config: Config, dataDir: string | null): Promise<Keys> {
  const { jwtSecret, jwksUrl, jwtIssuer, jwtAudience } = config
  if (jwksUrl !== null && jwtIssuer !== null && jwtAudience !== null) {
    return { jwksUrl, issuer: jwtIssuer, audience: jwtAudience }
  }
  if (jwtSecret !== null) return { secret: jwtSecret }
  if (dataDir !== null) return { secret: await localSecret(dataDir) }
  throw new ConfigError(['with DATABASE_URL, set CARILLON_JWT_SECRET (openssl rand -base64 32) or CARILLON_JWKS_URL'])
}

function createBus(
  { redisUrls, busChannels }: Config,
  cursorKey: Buffer,
  metrics: Metrics,
  logger: Logger,
): Bus<Doorbell> {
  const [url, ...others] = redisUrls
  // Redis' channels know no database number. Named after the log, so that deployments can share a Redis.
  const log = createHash('sha256').update(cursorKey).digest('hex').slice(0, 12)
  if (url === undefined) return createMemoryBus({ logger })
  if (others.length > 0) throw new ConfigError(['REDIS_URL: this version needs a single Redis, not a cluster'])
  return createRedisBus({
    url,
    channels: busChannels,
    prefix: `carillon:${log}`,
    logger,
    parse: parseDoorbell,
    onPublishError: () => metrics.busPublishErrors.inc(),
    onLag: (seconds) => metrics.busLag.set(seconds),
  })
}

function transportMetrics(metrics: Metrics, clock: Clock): TransportMetrics {
  return {
    opened: (transport) => metrics.connectionsActive.inc({ transport }),
    closed: (transport) => metrics.connectionsActive.dec({ transport }),
    rejected: (reason) => metrics.connectionsRejected.inc({ reason }),
    delivered(channel, acceptedAt) {
      metrics.deliveries.inc({ channel, status: 'sent' })
      if (acceptedAt === null) return
      metrics.deliveryLatency.observe({ channel }, Math.max(0, clock.now() - acceptedAt) / 1000)
    },
    failed: (channel) => metrics.deliveries.inc({ channel, status: 'failed' }),
    slowConsumer: () => metrics.slowConsumers.inc(),
  }
}

/** For who has just started it on their own machine: what to open, and what to sign in with. */
async function printWelcome(print: (line: string) => void, url: string, config: Config, keys: Keys): Promise<void> {
  print(`Carillon runs at ${url}`)
  if (config.graphiql) print(`GraphiQL          ${url}/graphql`)
  if (!('secret' in keys)) return
  const { secret } = keys
  const ttlSeconds = printedTokenTtlSeconds
  const user = await signToken({ secret, sub: 'alice', ttlSeconds })
  const service = await signToken({
    secret,
    sub: 'service',
    scopes: scopes.filter((scope) => scope !== 'admin'),
    ttlSeconds,
  })
  print(`Token for alice   ${user}`)
  print(`Token to send     ${service}`)
}
