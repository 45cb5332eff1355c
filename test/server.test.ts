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
