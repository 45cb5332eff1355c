import { createClient } from 'graphql-ws'
import { expect, test } from 'vitest'
import WebSocket from 'ws'
import { request, serviceToken, startFleet, tokenFor } from './support/server.ts'

test('a mutation at one instance reaches a subscriber at the other; sent while offline, in order on connect', async () => {
  await using fleet = await startFleet({ instances: 2 })
  const [one, two] = fleet.servers
  if (!one || !two) throw new Error('two servers were asked for')
  const service = await serviceToken()
  const send = (title: string) =>
    request(
      one.url,
      service,
      'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { notification { seq } } }',
      {
        input: { userId: 'alice', title },
      },
    )
  for (const title of ['a', 'b', 'c']) expect((await send(title)).errors).toBeUndefined()
  const client = createClient({
    url: `${two.url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: async () => ({ authorization: `Bearer ${await tokenFor('alice')}` }),
  })
  const stream = client.iterate<{ notifications: { title: string; seq: number } }>({
    query: 'subscription { notifications { title seq } }',
  })
  const titles: unknown[] = []
  for (let i = 0; i < 3; i++) titles.push((await stream.next()).value?.data?.notifications)
  await send('live')
  titles.push((await stream.next()).value?.data?.notifications)
  expect(titles).toEqual([
    { title: 'a', seq: 1 },
    { title: 'b', seq: 2 },
    { title: 'c', seq: 3 },
    { title: 'live', seq: 4 },
  ])
  await client.dispose()
})

test('a cursor that was refused is forgotten, so that the client can begin anew on the same socket', async () => {
  await using fleet = await startFleet({ env: { REDIS_URL: '' } })
  const send = 'mutation { sendNotification(input: { userId: "alice", title: "a" }) { duplicate } }'
  await request(fleet.url, await serviceToken(), send)
  let sockets = 0
  const client = createClient({
    url: `${fleet.url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    lazy: false,
    connectionParams: async () => ({ authorization: await tokenFor('alice'), after: 'of another time' }),
    on: { connected: () => void sockets++ },
  })
  const first = () => client.iterate({ query: 'subscription { notifications { title } }' }).next()
  await expect(first()).rejects.toMatchObject([{ extensions: { code: 'CURSOR_INVALID' } }])
  expect((await first()).value).toEqual({ data: { notifications: { title: 'a' } } })
  expect(sockets).toBe(1)
  await client.dispose()
})

test('a document that is nested deeper than the stack is refused as any that is not valid', async () => {
  await using fleet = await startFleet({ env: { REDIS_URL: '' } })
  const nested = (open: string, close: string) => open.repeat(20_000) + close.repeat(20_000)
  for (const query of [nested('{a', '}'), `{ node(id: ${nested('[', ']')}) { id } }`]) {
    const response = await request(fleet.url, await tokenFor('alice'), query)
    expect(response).toMatchObject({ errors: [{ extensions: { code: 'GRAPHQL_VALIDATION_FAILED' } }] })
  }
})
