// A running HTTP server around the real schema, with resolvers and a source that tests hold in their hands.
import { type Client, type ClientOptions, createClient } from 'graphql-ws'
import { type DestinationStream, pino } from 'pino'
import WebSocket from 'ws'
import { requireViewer, type Viewer } from '../../src/auth.ts'
import type { Rejection, Transport } from '../../src/connections/transport-metrics.ts'
import { CarillonError } from '../../src/errors.ts'
import type { Resolvers } from '../../src/graphql/generated.ts'
import { createSchema } from '../../src/graphql/schema.ts'
import { startHealth } from '../../src/health.ts'
import { createHttpServer, type HttpServerOptions } from '../../src/http.ts'
import type { NotificationReceived } from '../../src/notifications/events.ts'
import { inbox, notification, TestSource } from './test-source.ts'

export const protocol = 'graphql-transport-ws'
export const subscription = 'subscription ($after: String) { notifications(after: $after) { seq title } }'

interface Control {
  /** What a subscription waits for before it begins. */
  beforeSubscribing: Promise<void>
  /** What a mutation waits for. */
  beforeMutating: Promise<void>
  createSource: () => TestSource
  resumedAfter: (string | null)[]
  mutations: number
}

export async function startGraphql(overrides: Partial<HttpServerOptions> = {}) {
  const tokens = new Map<string, Viewer>()
  const sources: TestSource[] = []
  const control: Control = {
    beforeSubscribing: Promise.resolve(),
    beforeMutating: Promise.resolve(),
    createSource: () => new TestSource(),
    resumedAfter: [],
    mutations: 0,
  }
  const log: Record<string, unknown>[] = []
  const destination: DestinationStream = { write: (line: string) => void log.push(JSON.parse(line)) }
  const logger = pino({ level: 'debug' }, destination)
  const metrics = recordMetrics()
  const health = startHealth({ clock: { adjust: () => Promise.resolve() }, logger, checkMs: 20 })
  const server = createHttpServer({
    host: '127.0.0.1',
    port: 0,
    schema: createSchema(createResolvers(control, sources)),
    auth: {
      async verify(token) {
        if (token === 'down') throw new CarillonError('UNAVAILABLE', 'the keys can not be read')
        const viewer = tokens.get(token)
        if (!viewer) throw new CarillonError('UNAUTHENTICATED', 'the token does not hold')
        return viewer
      },
    },
    logger,
    health,
    metrics,
    allowedOrigins: [],
    graphiql: true,
    introspection: true,
    maxBodyBytes: 10_000,
    maxMessageBytes: 10_000,
    maxConnections: 100,
    maxConnectionsPerUser: 20,
    maxSubscriptionsPerSocket: 3,
    initTimeoutMs: 3_000,
    keepaliveMs: 12_000,
    ...overrides,
  })
  const { url: origin } = await server.listen()
  health.started()
  const clients: Client[] = []
  let closing: Promise<void> | undefined
  const close = (drainMs = 0) => {
    closing ??= server.close({ drainMs }).then(() => health.stop())
    return closing
  }

  return {
    control,
    origin,
    url: `${origin}/graphql`,
    socketUrl: `${origin.replace('http', 'ws')}/graphql`,
    sources,
    log,
    metrics,
    health,
    close,
    token(sub = 'alice', ttlMs = 3_600_000): string {
      const token = `${sub}-${tokens.size}`
      tokens.set(token, { sub, scopes: new Set(), expiresAt: Date.now() + ttlMs })
      return token
    },
    client(options: Partial<ClientOptions> = {}): Client {
      const client = createClient({
        url: this.socketUrl,
        webSocketImpl: WebSocket,
        retryAttempts: 0,
        connectionParams: { authorization: this.token() },
        ...options,
      })
      clients.push(client)
      return client
    },
    post(body: unknown, headers: Record<string, string> = {}): Promise<Response> {
      return fetch(this.url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      })
    },
    /** The newest source, once there are so many. */
    async source(count = 1): Promise<TestSource> {
      for (;;) {
        const source = sources[count - 1]
        if (source) return source
        await new Promise((resolve) => setTimeout(resolve, 2))
      }
    },
    async [Symbol.asyncDispose]() {
      for (const client of clients) await client.dispose()
      await close()
    },
  }
}

/** What waits for `opened` goes on when a test opens it. */
export function gate(): { opened: Promise<void>; open: () => void } {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open }
}

/** Failures that resolvers ask for by name: what they throw, and so what a caller should be told. */
export const failures: Record<string, () => Error> = {
  forbidden: () => new CarillonError('FORBIDDEN', 'not for you'),
  expired: () => new CarillonError('CURSOR_EXPIRED', 'too long ago'),
  unavailable: () => new CarillonError('UNAVAILABLE', 'try again later'),
  refused: () => Object.assign(new Error('connect ECONNREFUSED 10.0.0.1:5432'), { code: 'ECONNREFUSED' }),
  boom: () => new Error('syntax error in select * from secrets at /srv/carillon/log.ts'),
}

function failIfAsked(name: string | null | undefined): void {
  const failure = failures[name ?? '']
  if (failure) throw failure()
}

function createResolvers(control: Control, sources: TestSource[]): Resolvers {
  return {
    Query: {
      inbox: (_, _args, { viewer }) => ({ ...inbox, userId: requireViewer(viewer).sub }),
      history: (_, { after }, { viewer }) => {
        requireViewer(viewer)
        failIfAsked(after)
        return {
          edges: [],
          nodes: [],
          pageInfo: { hasNextPage: false, hasPreviousPage: false, startCursor: null, endCursor: null },
        }
      },
    },
    Mutation: {
      sendNotification: (_, { input }, { viewer }) => ({
        notification: notification(1, {
          userId: requireViewer(viewer).sub,
          data: JSON.stringify(input.data),
          createdAt: 0,
        }),
        duplicate: false,
      }),
      retractNotification: async () => {
        control.mutations += 1
        await control.beforeMutating
        return true
      },
    },
    Subscription: {
      notifications: {
        async subscribe(_, { after }, { viewer, resumeAfter }) {
          requireViewer(viewer)
          control.resumedAfter.push(resumeAfter)
          const source = control.createSource()
          await control.beforeSubscribing
          failIfAsked(after)
          sources.push(source)
          return source
        },
        resolve: (event: NotificationReceived) => event.notification,
      },
    },
    Notification: {
      cursor: ({ seq }) => `cursor-${seq}`,
      data: ({ data }) => (data === null ? null : JSON.parse(data)),
    },
    Inbox: {
      undeliveredCount: ({ undelivered }) => undelivered,
      unseenCount: ({ unseen }) => unseen,
      unreadCount: ({ unread }) => unread,
    },
  }
}

function recordMetrics() {
  const open = { websocket: 0, sse: 0 }
  const rejected: Rejection[] = []
  const delivered: { transport: Transport; acceptedAt: number | null }[] = []
  const failed: Transport[] = []
  const slow: Transport[] = []
  return {
    open,
    rejectedFor: rejected,
    deliveredOver: delivered,
    failedOver: failed,
    slowOver: slow,
    opened: (transport: Transport) => void open[transport]++,
    closed: (transport: Transport) => void open[transport]--,
    rejected: (reason: Rejection) => void rejected.push(reason),
    delivered: (transport: Transport, acceptedAt: number | null) => void delivered.push({ transport, acceptedAt }),
    failed: (transport: Transport) => void failed.push(transport),
    slowConsumer: (transport: Transport) => void slow.push(transport),
  }
}
