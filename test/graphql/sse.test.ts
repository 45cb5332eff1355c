import { type IncomingMessage, request as nodeRequest } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient } from 'graphql-sse'
import { afterAll, expect, test, vi } from 'vitest'
import { CarillonError } from '../../src/errors.ts'
import { gate, startGraphql, subscription } from '../support/graphql-fixture.ts'
import { TestSource } from '../support/test-source.ts'

const server = await startGraphql()
afterAll(() => server.close())

interface Stream {
  response: IncomingMessage
  /** All that has arrived so far. */
  text: string
  /** Whether the response came to its end or broke off. */
  ended: Promise<'ended' | 'broken off'>
  leave(): void
}

function open(
  target = server,
  options: { token?: string; lastEventId?: string; variables?: object } = {},
): Promise<Stream> {
  const { token = target.token(), lastEventId, variables } = options
  const headers = {
    authorization: `Bearer ${token}`,
    'content-type': 'application/json',
    accept: 'text/event-stream',
    ...(lastEventId !== undefined && { 'last-event-id': lastEventId }),
  }
  const { hostname, port } = new URL(target.url)
  return new Promise((resolve, reject) => {
    const request = nodeRequest(
      { hostname, port, path: '/graphql', method: 'POST', headers, agent: false },
      (response) => {
        const stream: Stream = {
          response,
          text: '',
          ended: new Promise((end) => {
            response.on('end', () => end('ended'))
            response.on('error', () => end('broken off'))
          }),
          leave: () => request.destroy(),
        }
        response.on('data', (chunk) => {
          stream.text += chunk
        })
        resolve(stream)
      },
    )
    request.on('error', reject)
    request.end(JSON.stringify({ query: subscription, variables }))
  })
}

async function subscribed(target = server, options: Parameters<typeof open>[1] = {}) {
  target.control.createSource = () => new TestSource()
  const count = target.sources.length + 1
  const stream = await open(target, options)
  return { stream, source: await target.source(count) }
}

test('delivers events with their cursors as ids, and completes when the source ends', async () => {
  const { stream, source } = await subscribed()
  expect(stream.response.headers['content-type']).toBe('text/event-stream; charset=utf-8')
  source.push(1)
  source.push(2)
  source.end()
  expect(await stream.ended).toBe('ended')
  expect(stream.text).toBe(
    ':\n\n' +
      'id: cursor-1\nevent: next\ndata: {"data":{"notifications":{"seq":1,"title":"title 1"}}}\n\n' +
      'id: cursor-2\nevent: next\ndata: {"data":{"notifications":{"seq":2,"title":"title 2"}}}\n\n' +
      'event: complete\ndata:\n\n',
  )
  expect(source.returnCalls).toBe(0)
})

test('serves clients of the protocol, by POST and by GET', async () => {
  server.control.createSource = () => new TestSource()
  const count = server.sources.length + 1
  const client = createClient({ url: server.url, headers: { authorization: server.token() }, retryAttempts: 0 })
  const results = client.iterate({ query: subscription })
  const first = results.next()
  const source = await server.source(count)
  source.push(1)
  source.end()
  expect((await first).value).toEqual({ data: { notifications: { seq: 1, title: 'title 1' } } })
  expect(await results.next()).toMatchObject({ done: true })
  const headers = { authorization: server.token(), accept: 'text/event-stream' }
  const response = await fetch(`${server.url}?query=${encodeURIComponent('{ __typename }')}`, { headers })
  expect(await response.text()).toBe('event: next\ndata: {"data":{"__typename":"Query"}}\n\nevent: complete\ndata:\n\n')
})

test('resumes after Last-Event-ID', async () => {
  const { stream } = await subscribed(server, { lastEventId: 'cursor-7' })
  expect(server.control.resumedAfter.at(-1)).toBe('cursor-7')
  stream.leave()
})

test('a final failure is a last event with errors, and complete', async () => {
  const { stream, source } = await subscribed()
  source.push(1)
  source.fail(new CarillonError('CURSOR_INVALID', 'the log was restored'))
  expect(await stream.ended).toBe('ended')
  expect(stream.text).toMatch(
    /data: {"errors":\[{"message":"the log was restored","extensions":{"code":"CURSOR_INVALID"}}\]}\n\nevent: complete\ndata:\n\n$/,
  )
})

test.each([new Error('connection lost'), new CarillonError('UNAVAILABLE', 'try again later')])(
  'what may pass breaks the response off without complete: %s',
  async (error) => {
    const { stream, source } = await subscribed()
    source.push(1)
    await vi.waitFor(() => expect(stream.text).toContain('cursor-1'))
    source.fail(error)
    expect(await stream.ended).toBe('broken off')
    expect(stream.text).not.toMatch(/complete|errors/)
  },
)

test.each(['boom', 'unavailable', 'refused'])(
  'a subscription that can not start for now (%s) is answered with 503',
  async (after) => {
    const { response } = await open(server, { variables: { after } })
    expect(response.statusCode).toBe(503)
    expect(response.headers['retry-after']).toBe('5')
  },
)

test('breaks off when the token expires, and delivers nothing from then on', async () => {
  const expiresAt = Date.now() + 300
  const { stream, source } = await subscribed(server, { token: server.token('alice', 300) })
  const arrivedAt: number[] = []
  stream.response.on('data', () => arrivedAt.push(Date.now()))
  const pushing = setInterval(() => source.push(1), 5)
  expect(await stream.ended).toBe('broken off')
  clearInterval(pushing)
  expect(Date.now()).toBeGreaterThanOrEqual(expiresAt)
  expect(Math.max(...arrivedAt)).toBeLessThan(expiresAt + 20)
  expect(stream.text).toContain('cursor-1')
  expect(stream.text).not.toContain('complete')
  await vi.waitFor(() => expect(source.returnCalls).toBe(1))
})

test('asks the source to end once, and at once, when the client leaves, though it is quiet', async () => {
  const { stream, source } = await subscribed()
  await vi.waitFor(() => expect(source.nextCalls).toBe(1))
  stream.leave()
  await vi.waitFor(() => expect(source.returnCalls).toBe(1))
  await vi.waitFor(() => expect(server.metrics.open.sse).toBe(0))
  source.push(1)
  await sleep(20)
  expect(source.returnCalls).toBe(1)
})

test('a subscription whose client leaves while it starts is ended once it has started', async () => {
  const start = gate()
  server.control.beforeSubscribing = start.opened
  const asked = server.control.resumedAfter.length
  const count = server.sources.length + 1
  const abort = new AbortController()
  const headers = { authorization: server.token(), accept: 'text/event-stream', 'content-type': 'application/json' }
  const leaving = fetch(server.url, {
    method: 'POST',
    headers,
    body: JSON.stringify({ query: subscription }),
    signal: abort.signal,
  })
  await vi.waitFor(() => expect(server.control.resumedAfter).toHaveLength(asked + 1))
  abort.abort()
  await expect(leaving).rejects.toThrow()
  await vi.waitFor(() => expect(server.metrics.open.sse).toBe(0))
  start.open()
  server.control.beforeSubscribing = Promise.resolve()
  const source = await server.source(count)
  await vi.waitFor(() => expect(source.returnCalls).toBe(1))
})

test('sends a comment now and then, so that nobody takes a quiet stream for a dead one', async () => {
  await using eager = await startGraphql({ keepaliveMs: 50 })
  const { stream } = await subscribed(eager)
  await vi.waitFor(() => expect(stream.text).toMatch(/^(:\n\n){4,}$/))
  stream.leave()
})

test('takes no more events than a client that does not read has room for, and breaks off one that makes no progress', async () => {
  await using impatient = await startGraphql({ keepaliveMs: 100, slowReaderMs: 400 })
  const title = 'x'.repeat(20_000)
  impatient.control.createSource = () => new TestSource({ title })
  const stream = await open(impatient)
  stream.response.pause()
  const source = await impatient.source()
  await vi.waitFor(() => expect(impatient.metrics.slowOver).toEqual(['sse']), 5_000)
  expect(source.nextCalls * title.length).toBeLessThan(16 * 1024 * 1024)
  expect(source.writtenSeqs.length).toBe(source.nextCalls - 1)
  await vi.waitFor(() => expect(impatient.metrics.failedOver).toEqual(['sse']))
  await vi.waitFor(() => expect(source.returnCalls).toBe(1))
  stream.response.resume()
  expect(await stream.ended).toBe('broken off')
})

test('confirms what was written, and counts it', async () => {
  const before = server.metrics.deliveredOver.length
  server.control.createSource = () => Object.assign(new TestSource(), { wantsConfirmation: true })
  const count = server.sources.length + 1
  const stream = await open()
  const source = await server.source(count)
  source.push(1)
  source.push(2)
  await vi.waitFor(() => expect(source.confirmedSeqs).toEqual([1, 2]))
  expect(source.writtenSeqs).toEqual([1, 2])
  expect(server.metrics.deliveredOver.slice(before)).toMatchObject([{ transport: 'sse' }, { transport: 'sse' }])
  stream.leave()
})

test('answers 503 at the limit of connections, and 429 at that of a user', async () => {
  await using small = await startGraphql({ maxConnections: 2, maxConnectionsPerUser: 1 })
  const { stream: first } = await subscribed(small, { token: small.token('alice') })
  const second = await open(small, { token: small.token('alice') })
  expect(second.response.statusCode).toBe(429)
  expect(second.response.headers['retry-after']).toBe('5')
  await vi.waitFor(() => expect(second.text).toContain('"code":"RATE_LIMITED"'))
  await vi.waitFor(() => expect(small.metrics.open.sse).toBe(1))
  const { stream: third } = await subscribed(small, { token: small.token('bob') })
  const fourth = await open(small, { token: small.token('carol') })
  expect(fourth.response.statusCode).toBe(503)
  expect(fourth.response.headers['retry-after']).toBe('5')
  expect(small.metrics.rejectedFor).toEqual(['user_limit', 'server_limit'])
  first.leave()
  third.leave()
  await vi.waitFor(() => expect(small.metrics.open.sse).toBe(0))
})

test('says UNAUTHENTICATED to whoever has no token', async () => {
  const response = await server.post({ query: subscription }, { accept: 'text/event-stream' })
  expect(await response.text()).toMatch(/"code":"UNAUTHENTICATED".*\n\nevent: complete/)
})
