import { once } from 'node:events'
import { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test, vi } from 'vitest'
import { CarillonError } from '../../src/errors.ts'
import { gate, startGraphql, subscription } from '../support/graphql-fixture.ts'
import { RawSocket } from '../support/raw-socket.ts'
import { TestSource } from '../support/test-source.ts'

const server = await startGraphql()
afterAll(() => server.close())

async function subscribed(options: { socket?: RawSocket; id?: string; wantsConfirmation?: boolean } = {}) {
  const { id = '1', wantsConfirmation = false } = options
  const socket = options.socket ?? (await new RawSocket(server.socketUrl).ready(server.token()))
  server.control.createSource = () => Object.assign(new TestSource(), { wantsConfirmation })
  const count = server.sources.length + 1
  socket.subscribe(id, subscription)
  return { socket, source: await server.source(count) }
}

/** Once it no longer changes. */
async function settled(read: () => number): Promise<number> {
  for (let last = -1; ; ) {
    const now = read()
    if (now > 0 && now === last) return now
    last = now
    await sleep(100)
  }
}

test('delivers events in order with what was selected, and completes when the source ends', async () => {
  const client = server.client()
  server.control.createSource = () => new TestSource()
  const count = server.sources.length + 1
  const results = client.iterate({ query: subscription })
  const first = results.next()
  const source = await server.source(count)
  source.push(1)
  source.push(2)
  source.end()
  expect((await first).value).toEqual({ data: { notifications: { seq: 1, title: 'title 1' } } })
  expect((await results.next()).value).toEqual({ data: { notifications: { seq: 2, title: 'title 2' } } })
  expect(await results.next()).toMatchObject({ done: true })
  // An iterator that ended by itself is not asked to end.
  expect(source.returnCalls).toBe(0)
})

test('a final failure of the source is an error message, and the socket stays open', async () => {
  const { socket, source } = await subscribed()
  await using _ = socket
  source.fail(new CarillonError('CURSOR_INVALID', 'the log was restored'))
  expect(await socket.next('error')).toEqual({
    id: '1',
    type: 'error',
    payload: [{ message: 'the log was restored', extensions: { code: 'CURSOR_INVALID' } }],
  })
  socket.subscribe('2', '{ __typename }')
  expect(await socket.next('next')).toMatchObject({ id: '2' })
  expect(source.returnCalls).toBe(0)
})

test.each([
  ['an unexpected failure', new Error('connection lost')],
  ['an outage', new CarillonError('UNAVAILABLE', 'try again later')],
])('%s of the source closes with 1013 and says no error', async (_, error) => {
  const { socket, source } = await subscribed()
  source.fail(error)
  expect(await socket.closed).toMatchObject({ code: 1013 })
  expect(socket.received.map(({ type }) => type)).toEqual(['connection_ack'])
  await vi.waitFor(() => expect(JSON.stringify(server.log)).toContain(error.message))
})

test.each(['boom', 'unavailable', 'refused'])(
  'a subscription that can not start for now (%s) closes with 1013',
  async (after) => {
    await using socket = await new RawSocket(server.socketUrl).ready(server.token())
    socket.subscribe('1', subscription, { after })
    expect(await socket.closed).toMatchObject({ code: 1013 })
    expect(socket.received.map(({ type }) => type)).toEqual(['connection_ack'])
  },
)

test.each([
  ['completes', (socket: RawSocket) => socket.send({ id: '1', type: 'complete' })],
  ['closes', (socket: RawSocket) => socket.webSocket.close()],
  ['is gone', (socket: RawSocket) => socket.webSocket.terminate()],
])('a source is asked to end once, and at once, when the client %s, though it is quiet', async (_, leave) => {
  const { socket, source } = await subscribed()
  await using _socket = socket
  await vi.waitFor(() => expect(source.nextCalls).toBe(1))
  leave(socket)
  await vi.waitFor(() => expect(source.returnCalls).toBe(1))
  source.push(1)
  await sleep(20)
  expect(source.returnCalls).toBe(1)
  expect(socket.received.filter(({ type }) => type === 'next')).toEqual([])
})

test.each([
  ['completes', (socket: RawSocket) => socket.send({ id: '1', type: 'complete' })],
  ['closes', (socket: RawSocket) => socket.webSocket.close()],
])('a subscription whose client %s while it starts is ended once it has started', async (_, leave) => {
  await using socket = await new RawSocket(server.socketUrl).ready(server.token())
  const count = server.sources.length + 1
  const start = gate()
  server.control.beforeSubscribing = start.opened
  const asked = server.control.resumedAfter.length
  socket.subscribe('1', subscription)
  await vi.waitFor(() => expect(server.control.resumedAfter).toHaveLength(asked + 1))
  leave(socket)
  socket.webSocket.ping()
  await sleep(20)
  start.open()
  server.control.beforeSubscribing = Promise.resolve()
  const source = await server.source(count)
  await vi.waitFor(() => expect(source.returnCalls).toBe(1))
})

test('an id that is used again while its first subscription starts is that of the second alone', async () => {
  await using socket = await new RawSocket(server.socketUrl).ready(server.token())
  server.control.createSource = () => new TestSource()
  const count = server.sources.length
  const asked = server.control.resumedAfter.length
  const start = gate()
  server.control.beforeSubscribing = start.opened
  socket.subscribe('1', subscription)
  await vi.waitFor(() => expect(server.control.resumedAfter).toHaveLength(asked + 1))
  server.control.beforeSubscribing = Promise.resolve()
  socket.send({ id: '1', type: 'complete' })
  socket.subscribe('1', subscription)
  const second = await server.source(count + 1)
  start.open()
  const first = await server.source(count + 2)
  await vi.waitFor(() => expect(first.returnCalls).toBe(1))
  first.push(1)
  second.push(2)
  expect(await socket.next('next')).toMatchObject({ id: '1', payload: { data: { notifications: { seq: 2 } } } })
  second.push(3)
  await socket.next('next')
  expect(second.returnCalls).toBe(0)
  socket.webSocket.close()
  await vi.waitFor(() => expect(second.returnCalls).toBe(1))
  expect(first.returnCalls).toBe(1)
})

test('an id that is used again at once after complete is that of the second alone', async () => {
  const { socket, source: first } = await subscribed()
  await using _ = socket
  const count = server.sources.length
  socket.send({ id: '1', type: 'complete' })
  socket.subscribe('1', subscription)
  const second = await server.source(count + 1)
  await vi.waitFor(() => expect(first.returnCalls).toBe(1))
  second.push(1)
  expect(await socket.next('next')).toMatchObject({ id: '1', payload: { data: { notifications: { seq: 1 } } } })
})

test('the outcome of an operation that was given up is not that of the one which has its id now', async () => {
  await using socket = await new RawSocket(server.socketUrl).ready(server.token())
  const { opened, open } = gate()
  server.control.beforeMutating = opened
  const mutations = server.control.mutations
  socket.subscribe('1', 'mutation { retractNotification(id: "1") }')
  await vi.waitFor(() => expect(server.control.mutations).toBe(mutations + 1))
  socket.send({ id: '1', type: 'complete' })
  const { source } = await subscribed({ socket })
  open()
  source.push(1)
  expect(await socket.next('next')).toMatchObject({ payload: { data: { notifications: { seq: 1 } } } })
  source.push(2)
  expect(await socket.next('next')).toMatchObject({ payload: { data: { notifications: { seq: 2 } } } })
})

test('counts what a connection that broke did not take, and does not call it written', async () => {
  await using socket = await new RawSocket(server.socketUrl).ready(server.token())
  const count = server.sources.length + 1
  const body = 'x'.repeat(20_000)
  server.control.createSource = () => new TestSource({ body })
  socket.webSocket.pause()
  socket.subscribe('1', 'subscription { notifications { body } }')
  const source = await server.source(count)
  await settled(() => source.nextCalls)
  const before = server.metrics.failedOver.length
  socket.webSocket.terminate()
  await vi.waitFor(() => expect(server.metrics.failedOver.slice(before)).toEqual(['websocket']))
  expect(source.writtenSeqs).toHaveLength(source.nextCalls - 1)
})

test('takes no more events than a client that does not read has room for', async () => {
  await using socket = await new RawSocket(server.socketUrl).ready(server.token())
  const count = server.sources.length + 1
  const body = 'x'.repeat(20_000)
  server.control.createSource = () => new TestSource({ body })
  socket.webSocket.pause()
  socket.subscribe('1', 'subscription { notifications { seq body } }')
  const source = await server.source(count)
  const taken = await settled(() => source.nextCalls)
  // What the kernel's buffers hold, and one more.
  expect(taken * body.length).toBeLessThan(16 * 1024 * 1024)
  expect(source.writtenSeqs.length).toBe(taken - 1)
  socket.webSocket.resume()
  await vi.waitFor(() => expect(source.nextCalls).toBeGreaterThan(taken + 100))
  socket.webSocket.terminate()
  await vi.waitFor(() => expect(source.returnCalls).toBe(1))
  const last = source.nextCalls
  await sleep(50)
  expect(source.nextCalls).toBe(last)
  expect(socket.received.slice(1).map(({ payload }) => payload)).toEqual(
    Array.from({ length: socket.received.length - 1 }, (_, i) => ({ data: { notifications: { seq: i + 1, body } } })),
  )
})

test('closes a reader that makes no progress with 1013', async () => {
  await using impatient = await startGraphql({ keepaliveMs: 100, slowReaderMs: 200 })
  const body = 'x'.repeat(20_000)
  impatient.control.createSource = () => new TestSource({ body })
  await using socket = await new RawSocket(impatient.socketUrl).ready(impatient.token())
  socket.webSocket.pause()
  socket.subscribe('1', 'subscription { notifications { body } }')
  const source = await impatient.source()
  await vi.waitFor(() => expect(impatient.metrics.slowOver).toEqual(['websocket']), 5_000)
  expect(source.returnCalls).toBe(1)
  socket.webSocket.resume()
  expect(await socket.closed).toMatchObject({ code: 1013 })
})

test('a pong says no more than what its own ping was behind: who still reads a large message is not taken for dead', async () => {
  const keepaliveMs = 50
  await using impatient = await startGraphql({ keepaliveMs, slowReaderMs: 200 })
  await using socket = await new RawSocket(impatient.socketUrl, { autoPong: false }).ready(impatient.token())
  socket.subscribe('1', 'subscription { notifications { body } }')
  const source = await impatient.source()
  source.push(1, { body: 'x'.repeat(20_000) })
  await socket.next('next')
  await once(socket.webSocket, 'ping')
  // As for an earlier ping, of a confirmation for example.
  socket.webSocket.pong(Buffer.from([0, 0, 0, 1]))
  await sleep(20 * keepaliveMs)
  expect(socket.webSocket.readyState).toBe(socket.webSocket.OPEN)
})

test('an answer and its complete are one write', async () => {
  const socket = await new RawSocket(server.socketUrl).ready(server.token())
  await using _ = socket
  const { port } = new URL(server.socketUrl)
  // What the server's end writes; two writes may well arrive as one chunk.
  const write = vi.spyOn(Socket.prototype, 'write')
  try {
    socket.send({ id: '1', type: 'subscribe', payload: { query: '{ __typename }' } })
    await socket.next('next')
    await socket.next('complete')
    const ends = write.mock.contexts.map((end) => (end instanceof Socket ? String(end.localPort) : ''))
    expect(ends.filter((end) => end === port)).toHaveLength(1)
  } finally {
    write.mockRestore()
  }
})

test('tells the source and the metrics what was written', async () => {
  const before = server.metrics.deliveredOver.length
  const { socket, source } = await subscribed()
  await using _ = socket
  source.push(1, { createdAt: 1_000 })
  source.push(2, { createdAt: 2_000 })
  await vi.waitFor(() => expect(source.writtenSeqs).toEqual([1, 2]))
  expect(server.metrics.deliveredOver.slice(before)).toEqual([
    { transport: 'websocket', acceptedAt: 1_000 },
    { transport: 'websocket', acceptedAt: 2_000 },
  ])
  expect(source.confirmedSeqs).toEqual([])
})

test('confirms in order what the client answered a ping behind, and nothing before', async () => {
  await using socket = await new RawSocket(server.socketUrl, { autoPong: false }).ready(server.token())
  const pings: Buffer[] = []
  socket.webSocket.on('ping', (payload) => pings.push(payload))
  const { source } = await subscribed({ socket, wantsConfirmation: true })
  source.push(1)
  await vi.waitFor(() => expect(pings).toHaveLength(1))
  source.push(2)
  source.push(3)
  await vi.waitFor(() => expect(source.writtenSeqs).toEqual([1, 2, 3]))
  // One ping is under way at a time, and a pong that answers another one confirms nothing.
  expect(pings).toHaveLength(1)
  socket.webSocket.pong(Buffer.from([9, 9, 9, 9]))
  socket.webSocket.pong()
  socket.send({ type: 'ping' })
  await vi.waitFor(() => expect(socket.received.at(-1)).toMatchObject({ type: 'pong' }))
  expect(source.confirmedSeqs).toEqual([])
  socket.webSocket.pong(pings[0])
  await vi.waitFor(() => expect(pings).toHaveLength(2))
  expect(source.confirmedSeqs).toEqual([1])
  socket.webSocket.pong(pings[1])
  await vi.waitFor(() => expect(source.confirmedSeqs).toEqual([1, 2, 3]))
})

test('confirms nothing on a connection that broke', async () => {
  await using socket = await new RawSocket(server.socketUrl, { autoPong: false }).ready(server.token())
  const { source } = await subscribed({ socket, wantsConfirmation: true })
  source.push(1)
  await socket.next('next')
  socket.webSocket.terminate()
  await vi.waitFor(() => expect(source.returnCalls).toBe(1))
  expect(source.confirmedSeqs).toEqual([])
})

test('reads no more from a client than it has room for the answers', async () => {
  await using socket = await new RawSocket(server.socketUrl).ready(server.token())
  socket.webSocket.pause()
  const payload = { text: 'x'.repeat(9_000) }
  for (let i = 0; i < 3_000; i++) socket.send({ type: 'ping', payload })
  const unread = await settled(() => socket.webSocket.bufferedAmount)
  expect(unread).toBeGreaterThan(5_000_000)
  socket.webSocket.resume()
  await vi.waitFor(() => expect(socket.received.filter(({ type }) => type === 'pong')).toHaveLength(3_000), 10_000)
})

test('carries out a bounded number of operations of one socket at a time, and all in the end', async () => {
  await using socket = await new RawSocket(server.socketUrl).ready(server.token())
  const { opened, open } = gate()
  server.control.beforeMutating = opened
  for (let i = 0; i < 5_000; i++) socket.subscribe(String(i), 'mutation { retractNotification(id: "1") }')
  expect(await settled(() => server.control.mutations)).toBeLessThan(2_000)
  open()
  await vi.waitFor(() => expect(socket.received.filter(({ type }) => type === 'complete')).toHaveLength(5_000), 10_000)
})
