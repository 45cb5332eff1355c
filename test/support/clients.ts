// One user's notifications as four client libraries receive them, each set up as docs/ tells its users to: they try again
// for ever, and a connection after the first one names the newest cursor.
import { setTimeout as delay } from 'node:timers/promises'
import { ApolloClient, ApolloLink, gql, InMemoryCache } from '@apollo/client'
import { GraphQLWsLink } from '@apollo/client/link/subscriptions'
import { subscriptionExchange, Client as UrqlClient } from '@urql/core'
import { createClient as createSseClient } from 'graphql-sse'
import { createClient as createSocketClient } from 'graphql-ws'
import WebSocket from 'ws'

export const libraries = ['graphql-ws', 'graphql-sse', 'Apollo Client', 'urql'] as const
export type Library = (typeof libraries)[number]

export interface FeedOptions {
  /** Of a server, or of a proxy before it. */
  url: string
  token: () => Promise<string>
  /** The first variables, which every library repeats when it connects again. */
  variables?: { after?: string; autoAck?: boolean }
  /** Whether a connection after the first one names the newest cursor. Default true. */
  resumes?: boolean
}

export interface Item {
  id: string
  seq: number
  title: string
  cursor: string
}

export interface Feed extends AsyncDisposable {
  /** Everything that arrived, in order, over all connections. */
  readonly items: readonly Item[]
  /** What ended the subscription. A healthy one has none. */
  readonly errors: readonly unknown[]
  /** Of the WebSockets that closed. */
  readonly closeCodes: readonly number[]
  /** How many connections were accepted. */
  readonly connections: number
}

interface Data {
  notifications: Item
}

interface Sink {
  next(result: { data?: unknown; errors?: unknown; error?: unknown }): void
  error(error: unknown): void
  complete(): void
}

const document = `subscription Feed($after: String, $autoAck: Boolean! = false) {
  notifications(after: $after, autoAck: $autoAck) { id seq title cursor }
}`
const retryWaitMs = 20

/** Subscribes, and does so again whenever the connection breaks. */
export function startFeed(library: Library, { url, token, variables = {}, resumes = true }: FeedOptions): Feed {
  const items: Item[] = []
  const errors: unknown[] = []
  const closeCodes: number[] = []
  let connections = 0
  const connected = () => {
    connections += 1
  }
  const newest = () => (resumes ? items.at(-1)?.cursor : undefined)
  const sink: Sink = {
    next({ data, errors: failures, error = failures }) {
      if (isData(data)) items.push(data.notifications)
      else errors.push(error)
    },
    error: (error) => void errors.push(error),
    complete: () => void errors.push(new Error('the subscription was completed')),
  }

  const stop = library === 'graphql-sse' ? overSse() : overSocket(library)
  return {
    items,
    errors,
    closeCodes,
    get connections() {
      return connections
    },
    [Symbol.asyncDispose]: stop,
  }

  function overSse() {
    const client = createSseClient({
      url: `${url}/graphql`,
      async headers() {
        const cursor = newest()
        return { authorization: `Bearer ${await token()}`, ...(cursor !== undefined && { 'last-event-id': cursor }) }
      },
      retryAttempts: Number.POSITIVE_INFINITY,
      retry: () => delay(retryWaitMs),
      on: { connected },
    })
    client.subscribe({ query: document, variables }, sink)
    return async () => client.dispose()
  }

  function overSocket(library: Exclude<Library, 'graphql-sse'>) {
    const socketClient = createSocketClient({
      url: `${url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      async connectionParams() {
        const after = newest()
        return { authorization: `Bearer ${await token()}`, ...(after !== undefined && { after }) }
      },
      retryAttempts: Number.POSITIVE_INFINITY,
      shouldRetry: () => true,
      retryWait: () => delay(retryWaitMs),
      on: {
        connected,
        closed: (event) => void (isCloseEvent(event) && closeCodes.push(event.code)),
      },
    })
    const unsubscribe = subscribe()
    return async () => {
      unsubscribe()
      await socketClient.dispose()
    }

    function subscribe(): () => void {
      if (library === 'graphql-ws') return socketClient.subscribe({ query: document, variables }, sink)
      if (library === 'Apollo Client') {
        const client = new ApolloClient({
          cache: new InMemoryCache(),
          link: ApolloLink.from([new GraphQLWsLink(socketClient)]),
        })
        const subscription = client.subscribe({ query: gql(document), variables }).subscribe(sink)
        return () => subscription.unsubscribe()
      }
      const client = new UrqlClient({
        url: `${url}/graphql`,
        preferGetMethod: false,
        exchanges: [
          subscriptionExchange({
            forwardSubscription: ({ query = '', ...request }) => ({
              subscribe: ({ next, ...observer }) => ({
                unsubscribe: socketClient.subscribe(
                  { ...request, query },
                  { ...observer, next: ({ data = null, errors }) => next({ data, ...(errors && { errors }) }) },
                ),
              }),
            }),
          }),
        ],
      })
      return client.subscription(document, variables).subscribe(sink.next).unsubscribe
    }
  }
}

function isData(data: unknown): data is Data {
  return typeof data === 'object' && data !== null && 'notifications' in data
}

function isCloseEvent(event: unknown): event is { code: number } {
  return typeof event === 'object' && event !== null && 'code' in event && typeof event.code === 'number'
}
