// Subscribing while PostgreSQL is away, over real connections: a client is told to come back, and never that it is over.
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { startProxy, type TcpProxy } from '../support/proxy.ts'
import { RawSocket } from '../support/raw-socket.ts'
import { type Fleet, request, serviceToken, startFleet, tokenFor } from '../support/server.ts'

let fleet: Fleet
let postgres: TcpProxy
let url: string
beforeEach(async () => {
  fleet = await startFleet({ instances: 0, env: { REDIS_URL: '' } })
  postgres = await startProxy({ targets: [fleet.test.url] })
  const through = new URL(fleet.test.url)
  through.port = String(postgres.port)
  url = (await fleet.start({ DATABASE_URL: through.href })).url
})
afterEach(async () => {
  await fleet[Symbol.asyncDispose]()
  await postgres[Symbol.asyncDispose]()
})

const userId = 'alice'
const subscription = 'subscription { notifications { seq } }'

function breakOff() {
  postgres.refuse()
  postgres.cut()
}

async function connect(): Promise<RawSocket> {
  const token = await tokenFor(userId)
  return new RawSocket(`${url.replace('http', 'ws')}/graphql`).ready(token)
}

async function send() {
  const mutation =
    'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { notification { seq } } }'
  return request(url, await serviceToken(), mutation, { input: { userId, title: 'Hello' } })
}

test('a WebSocket is closed with 1013 and no error message', async () => {
  await using socket = await connect()
  breakOff()
  socket.subscribe('1', subscription)
  expect(await socket.closed).toMatchObject({ code: 1013 })
  expect(socket.received.map(({ type }) => type)).toEqual(['connection_ack'])
})

test('a response of server-sent events is none, and says when to try again', async () => {
  const token = await tokenFor(userId)
  breakOff()
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { accept: 'text/event-stream', 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify({ query: subscription }),
  })
  expect(response.status).toBe(503)
  expect(response.headers.has('retry-after')).toBe(true)
  expect(await response.text()).not.toContain('event: complete')
})

test('who has subscribed before stays, and gets what is sent afterwards', async () => {
  await using socket = await connect()
  socket.subscribe('1', subscription)
  await send()
  await socket.next('next')
  breakOff()
  await vi.waitFor(async () => expect((await send()).errors).toMatchObject([{ extensions: { code: 'UNAVAILABLE' } }]))
  postgres.accept()
  await vi.waitFor(async () => expect((await send()).data).toBeTruthy(), 5_000)
  expect(await socket.next('next')).toMatchObject({ payload: { data: { notifications: { seq: 2 } } } })
})
