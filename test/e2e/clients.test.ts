// The client libraries as users have them, each over a proxy before two instances, while connections break, tokens expire
// and servers go. Whatever is sent goes to the instance that the subscriber is not at.
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import type { Server } from '../../src/server.ts'
import { type Feed, type FeedOptions, type Library, libraries, startFeed } from '../support/clients.ts'
import { startProxy, type TcpProxy } from '../support/proxy.ts'
import { type Fleet, request, serviceToken, startFleet, tokenFor } from '../support/server.ts'

let fleet: Fleet
/** The two that stay; a test may start more. */
let instances: Server[]
let service: string

beforeAll(async () => {
  fleet = await startFleet({ instances: 2 })
  instances = [...fleet.servers]
  service = await serviceToken()
})
afterAll(() => fleet[Symbol.asyncDispose]())

/** Each test has a user of its own, so that all can share the fleet. */
let users = 0
const newUser = () => `user-${++users}`

const startFleetProxy = (servers = instances) => startProxy({ targets: servers.map(({ url }) => url) })

async function send(url: string, userId: string, ...titles: string[]): Promise<void> {
  const document = 'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { duplicate } }'
  for (const title of titles) {
    const response = await request(url, service, document, { input: { userId, title } })
    expect(response).toEqual({ status: 200, data: { sendNotification: { duplicate: false } } })
  }
}

interface InboxData {
  inbox: { undeliveredCount: number; headCursor: string }
  history: { nodes: { title: string; deliveredAt: string | null }[] }
}

async function inboxOf(userId: string): Promise<InboxData> {
  const document = '{ inbox { undeliveredCount headCursor } history { nodes { title deliveredAt } } }'
  const { data } = await request<InboxData>(fleet.url, await tokenFor(userId), document)
  if (!data) throw new Error('no inbox')
  return data
}

const titles = (feed: Feed) => feed.items.map(({ title }) => title)

/** Waits until exactly these have arrived; what comes twice, or out of order, fails. */
const arrived = (feed: Feed, ...expected: string[]) =>
  vi.waitFor(() => expect({ titles: titles(feed), errors: feed.errors }).toEqual({ titles: expected, errors: [] }), {
    timeout: 10_000,
    interval: 10,
  })

function feedFor(library: Library, userId: string, proxy: TcpProxy, options: Partial<FeedOptions> = {}): Feed {
  return startFeed(library, { url: proxy.url, token: () => tokenFor(userId), ...options })
}

test.each(libraries)('%s continues without a loss or a double after its connection breaks', async (library) => {
  const user = newUser()
  await using proxy = await startFleetProxy()
  const { inbox } = await inboxOf(user)
  await send(proxy.next, user, 'offline 1', 'offline 2')

  await using feed = feedFor(library, user, proxy, { variables: { after: inbox.headCursor } })
  await arrived(feed, 'offline 1', 'offline 2')
  await send(proxy.next, user, 'live 1')
  await arrived(feed, 'offline 1', 'offline 2', 'live 1')

  proxy.refuse()
  proxy.cut()
  for (const { url } of instances) await send(url, user, `missed at ${url}`)
  proxy.accept()
  const missed = instances.map(({ url }) => `missed at ${url}`)
  await arrived(feed, 'offline 1', 'offline 2', 'live 1', ...missed)

  // Nothing was missed this time; a double would come before what is live.
  proxy.cut()
  await vi.waitFor(() => expect(feed.connections).toBe(3), { timeout: 10_000 })
  await send(proxy.next, user, 'live 2')
  await arrived(feed, 'offline 1', 'offline 2', 'live 1', ...missed, 'live 2')
  expect(feed.items.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6])
})

test.each(libraries)('%s without a cursor gets again what was not acknowledged, and nothing else', async (library) => {
  const user = newUser()
  await using proxy = await startFleetProxy()
  await send(proxy.next, user, 'a', 'b', 'c')
  await using feed = feedFor(library, user, proxy, { resumes: false })
  await arrived(feed, 'a', 'b', 'c')
  await send(proxy.next, user, 'd')
  await arrived(feed, 'a', 'b', 'c', 'd')

  const ids = feed.items.filter(({ title }) => title === 'a' || title === 'c').map(({ id }) => id)
  const document = 'mutation ($ids: [ID!]) { markDelivered(ids: $ids) { count inbox { undeliveredCount } } }'
  expect((await request(fleet.url, await tokenFor(user), document, { ids })).data).toEqual({
    markDelivered: { count: 2, inbox: { undeliveredCount: 2 } },
  })

  proxy.refuse()
  proxy.cut()
  await send(proxy.next, user, 'e')
  proxy.accept()
  await arrived(feed, 'a', 'b', 'c', 'd', 'b', 'd', 'e')
})

test.each(libraries)('%s with autoAck has everything acknowledged that arrived', async (library) => {
  const user = newUser()
  await using proxy = await startFleetProxy()
  await send(proxy.next, user, 'a', 'b')
  await using feed = feedFor(library, user, proxy, { resumes: false, variables: { autoAck: true } })
  await arrived(feed, 'a', 'b')
  await send(proxy.next, user, 'c')
  await arrived(feed, 'a', 'b', 'c')
  await vi.waitFor(
    async () => {
      const { inbox, history } = await inboxOf(user)
      expect(inbox.undeliveredCount).toBe(0)
      expect(history.nodes).toEqual(['c', 'b', 'a'].map((title) => ({ title, deliveredAt: expect.any(String) })))
    },
    { timeout: 5_000 },
  )

  proxy.cut()
  await vi.waitFor(() => expect(feed.connections).toBe(2), { timeout: 10_000 })
  await send(proxy.next, user, 'd')
  await arrived(feed, 'a', 'b', 'c', 'd')
})

test('autoAck over a WebSocket acknowledges nothing that was written and did not arrive', async () => {
  const user = newUser()
  await using proxy = await startFleetProxy()
  await send(proxy.next, user, 'arrives')
  await using feed = feedFor('graphql-ws', user, proxy, { resumes: false, variables: { autoAck: true } })
  await arrived(feed, 'arrives')
  await vi.waitFor(async () => expect((await inboxOf(user)).inbox.undeliveredCount).toBe(0))

  proxy.impair({ direction: 'toClient', blackhole: true, isOld: true })
  await send(proxy.next, user, 'gets lost')
  await vi.waitFor(() => expect(proxy.held).toContain('gets lost'))
  expect(titles(feed)).toEqual(['arrives'])
  expect((await inboxOf(user)).inbox.undeliveredCount).toBe(1)
  proxy.cut()
  await arrived(feed, 'arrives', 'gets lost')
  await vi.waitFor(async () => expect((await inboxOf(user)).inbox.undeliveredCount).toBe(0))
})

/** Often enough that something is on its way whenever a connection breaks. */
const sendPauseMs = 5

/** Sends again and again until it is told to stop, and then says what it has sent. */
function keepSending(url: () => string, user: string) {
  const sent: string[] = []
  let isStopped = false
  const sending = (async () => {
    while (!isStopped) {
      const title = `number ${sent.length + 1}`
      await send(url(), user, title)
      sent.push(title)
      await delay(sendPauseMs)
    }
    return sent
  })()
  return {
    stop() {
      isStopped = true
      return sending
    },
  }
}

test.concurrent.each(libraries)(
  '%s continues with a fresh token after the one before expired in mid-stream',
  async (library) => {
    const user = newUser()
    await using proxy = await startFleetProxy()
    const { inbox } = await inboxOf(user)
    // Of whole seconds from the last full one: it holds for one to two.
    const tokens = [await tokenFor(user, [], 2)]
    const expiresAt = (Math.floor(Date.now() / 1000) + 2) * 1000
    const token = async () => tokens.shift() ?? tokenFor(user)
    await using feed = feedFor(library, user, proxy, { token, variables: { after: inbox.headCursor } })
    const sending = keepSending(() => proxy.next, user)
    await vi.waitFor(() => expect(feed.items.length).toBeGreaterThan(0), { timeout: 10_000 })
    await vi.waitFor(() => expect(feed.connections).toBe(2), { timeout: 10_000 })
    expect(Date.now()).toBeGreaterThanOrEqual(expiresAt)
    await arrived(feed, ...(await sending.stop()))
    if (library !== 'graphql-sse') expect(feed.closeCodes).toEqual([4403])
  },
)

test.each(libraries)('%s moves on to another instance when its own one shuts down', async (library) => {
  const user = newUser()
  const server = await fleet.start()
  const [other] = instances
  if (!other) throw new Error('no other server')
  await using proxy = await startFleetProxy([server, other])
  const { inbox } = await inboxOf(user)
  await using feed = feedFor(library, user, proxy, { variables: { after: inbox.headCursor } })
  const sending = keepSending(() => other.url, user)
  await vi.waitFor(() => expect(feed.items.length).toBeGreaterThan(0), { timeout: 10_000 })
  await server.close()
  await vi.waitFor(() => expect(feed.connections).toBe(2), { timeout: 10_000 })
  await arrived(feed, ...(await sending.stop()))
  if (library !== 'graphql-sse') expect(feed.closeCodes[0]).toBe(1012)
})
