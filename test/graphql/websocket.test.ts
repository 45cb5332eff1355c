import { afterAll, expect, test, vi } from 'vitest'
import { startGraphql, subscription } from '../support/graphql-fixture.ts'
import { RawSocket, refusedUpgrade } from '../support/raw-socket.ts'

const server = await startGraphql({ allowedOrigins: ['https://app.example.com'] })
afterAll(() => server.close())

const open = (...rest: [Record<string, unknown>?, string[]?]) => new RawSocket(server.socketUrl, ...rest)

test.each(['authorization', 'Authorization'])(
  'takes the token from connectionParams.%s, with or without Bearer',
  async (name) => {
    for (const prefix of ['', 'Bearer ', 'bearer ']) {
      await using socket = await open().opened()
      socket.send({ type: 'connection_init', payload: { [name]: prefix + server.token('bob') } })
      await socket.next('connection_ack')
      socket.subscribe('1', '{ inbox { userId } }')
      expect(await socket.next('next')).toEqual({
        id: '1',
        type: 'next',
        payload: { data: { inbox: { userId: 'bob' } } },
      })
      expect(await socket.next('complete')).toEqual({ id: '1', type: 'complete' })
    }
  },
)

test.each([
  ['no payload', undefined],
  ['no token', {}],
  ['an empty token', { authorization: 'Bearer ' }],
  ['a token that is no text', { authorization: 7 }],
  ['a wrong token', { authorization: 'Bearer wrong' }],
])('closes with 4403 for %s', async (_, payload) => {
  await using socket = await open().opened()
  socket.send({ type: 'connection_init', payload })
  expect(await socket.closed).toEqual({ code: 4403, reason: 'Forbidden' })
})

test('closes with 1013 while tokens can not be verified, so that clients come back', async () => {
  await using socket = await open().opened()
  socket.send({ type: 'connection_init', payload: { authorization: 'down' } })
  expect(await socket.closed).toMatchObject({ code: 1013 })
})

test('closes with 4401 what subscribes before it is acknowledged', async () => {
  await using socket = await open().opened()
  socket.subscribe('1', '{ __typename }')
  expect(await socket.closed).toMatchObject({ code: 4401 })
})

test.each([
  ['no JSON', '{'],
  ['no message of the protocol', { type: 'hello' }],
  ['a message that only servers send', { id: '1', type: 'next', payload: {} }],
  [
    'an operation name that is no text',
    { id: '1', type: 'subscribe', payload: { query: '{ __typename }', operationName: 7 } },
  ],
])('closes with 4400 for %s', async (_, message) => {
  await using socket = await open().ready(server.token())
  socket.send(message)
  expect(await socket.closed).toMatchObject({ code: 4400 })
})

test('closes with 4409 for an id that is in use, and with 4429 for a second connection_init', async () => {
  await using first = await open().ready(server.token())
  first.subscribe('1', subscription)
  first.subscribe('1', subscription)
  expect(await first.closed).toMatchObject({ code: 4409 })
  await using second = await open().ready(server.token())
  second.send({ type: 'connection_init' })
  expect(await second.closed).toMatchObject({ code: 4429 })
})

test('closes with 4408 what does not say who it is', async () => {
  await using impatient = await startGraphql({ initTimeoutMs: 30 })
  await using socket = new RawSocket(impatient.socketUrl)
  expect(await socket.closed).toMatchObject({ code: 4408 })
  await vi.waitFor(() => expect(impatient.metrics.open.websocket).toBe(0))
})

test('closes with 4406 without the sub-protocol', async () => {
  await using none = open({}, [])
  expect(await none.closed).toMatchObject({ code: 4406 })
  await using both = open({}, ['graphql-ws', 'graphql-transport-ws'])
  await both.ready(server.token())
})

test('closes with 1009 for a message over its limit, and takes one below it', async () => {
  await using socket = await open().ready(server.token())
  socket.subscribe('1', `{ __typename } # ${'x'.repeat(9_000)}`)
  await socket.next('next')
  socket.subscribe('2', `{ __typename } # ${'x'.repeat(10_000)}`)
  expect(await socket.closed).toMatchObject({ code: 1009 })
})

test('takes 64 fragments of a message and no more', async () => {
  const text = JSON.stringify({ id: '1', type: 'subscribe', payload: { query: `{ __typename } # ${'x'.repeat(100)}` } })
  for (const [fragments, outcome] of [
    [64, 'next'],
    [65, 'closed'],
  ] as const) {
    await using socket = await open().ready(server.token())
    for (let i = 0; i < fragments - 1; i++) socket.webSocket.send(text.charAt(i), { fin: false })
    socket.webSocket.send(text.slice(fragments - 1), { fin: true })
    if (outcome === 'next') await socket.next('next')
    else expect(await socket.closed).toMatchObject({ code: 1008 })
  }
})

test('compresses nothing', async () => {
  await using socket = await open({ perMessageDeflate: true }).opened()
  expect(socket.webSocket.extensions).toBe('')
})

test('takes upgrades from the same origin, from allowed ones and from what is no browser, and refuses others', async () => {
  for (const origin of ['https://app.example.com', server.origin, undefined]) {
    await using socket = open(origin === undefined ? {} : { origin })
    await socket.ready(server.token())
  }
  for (const origin of ['https://evil.example.com', 'null', 'https://app.example.com.evil.com', 'http://127.0.0.1:1']) {
    const { status, body } = await refusedUpgrade(server.socketUrl, { origin })
    expect(status).toBe(403)
    expect(body).toMatchObject({ errors: [{ extensions: { code: 'FORBIDDEN' } }] })
  }
  expect(server.metrics.rejectedFor).toContain('origin')
})

test('refuses upgrades at other paths with 404', async () => {
  expect(await refusedUpgrade(`${server.origin.replace('http', 'ws')}/other`)).toMatchObject({ status: 404 })
})

test('refuses upgrades with 503 and Retry-After at the limit of connections, and takes them again below it', async () => {
  await using small = await startGraphql({ maxConnections: 1 })
  await using socket = await new RawSocket(small.socketUrl).ready(small.token())
  const refused = await refusedUpgrade(small.socketUrl)
  expect(refused).toMatchObject({ status: 503, headers: { 'retry-after': '5' } })
  expect(small.metrics.rejectedFor).toEqual(['server_limit'])
  socket.webSocket.close()
  await vi.waitFor(() => expect(small.metrics.open.websocket).toBe(0))
  await using next = await new RawSocket(small.socketUrl).ready(small.token())
  expect(next.webSocket.readyState).toBe(1)
})

test('closes with 1013 what a user has too many of, and counts what closed no more', async () => {
  await using small = await startGraphql({ maxConnectionsPerUser: 1 })
  await using first = await new RawSocket(small.socketUrl).ready(small.token('alice'))
  await using second = await new RawSocket(small.socketUrl).opened()
  second.send({ type: 'connection_init', payload: { authorization: small.token('alice') } })
  expect(await second.closed).toEqual({ code: 1013, reason: 'too many connections' })
  await using other = await new RawSocket(small.socketUrl).ready(small.token('bob'))
  expect(other.webSocket.readyState).toBe(1)
  first.webSocket.close()
  await vi.waitFor(() => expect(small.metrics.open.websocket).toBe(1))
  await using third = await new RawSocket(small.socketUrl).ready(small.token('alice'))
  expect(third.webSocket.readyState).toBe(1)
})

test('refuses a subscription over the limit of a socket with an error, and queries none', async () => {
  await using socket = await open().ready(server.token())
  const before = server.sources.length
  for (const id of ['1', '2', '3']) socket.subscribe(id, subscription)
  await server.source(before + 3)
  socket.subscribe('4', subscription)
  expect(await socket.next('error')).toMatchObject({ id: '4', payload: [{ extensions: { code: 'BAD_USER_INPUT' } }] })
  socket.subscribe('5', '{ __typename }')
  expect(await socket.next('next')).toMatchObject({ id: '5' })
  await socket.next('complete')
  socket.send({ id: '1', type: 'complete' })
  await vi.waitFor(() => expect(server.sources[before]?.returnCalls).toBe(1))
  socket.subscribe('6', subscription)
  await server.source(before + 4)
})

test('resumes after connectionParams.after', async () => {
  await using socket = await open().ready(server.token(), { after: 'cursor-7' })
  const before = server.sources.length
  socket.subscribe('1', subscription)
  await server.source(before + 1)
  expect(server.control.resumedAfter.at(-1)).toBe('cursor-7')
})

test('answers a ping of the protocol', async () => {
  await using socket = await open().ready(server.token())
  socket.send({ type: 'ping', payload: { n: 1 } })
  expect(await socket.next('pong')).toEqual({ type: 'pong', payload: { n: 1 } })
})

test('closes with 4403 when the token expires, and delivers nothing from then on', async () => {
  const before = server.sources.length
  const expiresAt = Date.now() + 300
  await using socket = await open().ready(server.token('alice', 300))
  socket.subscribe('1', subscription)
  const source = await server.source(before + 1)
  const arrivedAt: number[] = []
  socket.webSocket.on('message', () => arrivedAt.push(Date.now()))
  const pushing = setInterval(() => source.push(1), 5)
  const closed = await socket.closed
  clearInterval(pushing)
  expect(closed).toEqual({ code: 4403, reason: 'Forbidden' })
  expect(Date.now()).toBeGreaterThanOrEqual(expiresAt)
  expect(arrivedAt.length).toBeGreaterThan(0)
  expect(Math.max(...arrivedAt)).toBeLessThan(expiresAt + 20)
  expect(source.returnCalls).toBe(1)
})

test('pings, and drops a peer that does not answer', async () => {
  await using eager = await startGraphql({ keepaliveMs: 60 })
  await using silent = new RawSocket(eager.socketUrl, { autoPong: false })
  await silent.ready(eager.token())
  await using alive = await new RawSocket(eager.socketUrl).ready(eager.token())
  expect(await silent.closed).toMatchObject({ code: 1006 })
  let pings = 0
  alive.webSocket.on('ping', () => pings++)
  await vi.waitFor(() => expect(pings).toBeGreaterThan(3))
  expect(alive.webSocket.readyState).toBe(1)
  await vi.waitFor(() => expect(eager.metrics.open.websocket).toBe(1))
})
