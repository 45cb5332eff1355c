import { afterAll, describe, expect, test } from 'vitest'
import WebSocket from 'ws'
import { protocol, startGraphql } from '../support/graphql-fixture.ts'

const server = await startGraphql()
afterAll(() => server.close())

interface Answer {
  data?: unknown
  errors?: { message: string; path?: unknown; extensions?: Record<string, unknown> }[]
}

/** One operation and its answer. */
const transports: Record<string, (body: object) => Promise<Answer>> = {
  async http(body) {
    return (await server.post(body, { authorization: server.token() })).json()
  },
  async sse(body) {
    const response = await server.post(body, { authorization: server.token(), accept: 'text/event-stream' })
    const text = await response.text()
    expect(text).toMatch(/event: complete\ndata:\n\n$/)
    return JSON.parse(/event: next\ndata: (.*)\n/.exec(text)?.[1] ?? '')
  },
  async websocket(body) {
    const socket = new WebSocket(server.socketUrl, protocol)
    const answer = await new Promise<Answer>((resolve, reject) => {
      socket.on('close', (code, reason) => reject(new Error(`${code} ${reason}`)))
      socket.on('open', () =>
        socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: server.token() } })),
      )
      socket.on('message', (data) => {
        const { type, payload } = JSON.parse(String(data))
        if (type === 'connection_ack') socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: body }))
        if (type === 'next') resolve(payload)
        if (type === 'error') resolve({ errors: payload })
      })
    })
    socket.close()
    return answer
  },
}

const send = 'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { duplicate } }'
const input = { userId: 'alice', title: 'hello' }

describe.each(Object.entries(transports))('over %s', (_, run) => {
  test.each([
    ['a document that is not GraphQL', 'GRAPHQL_PARSE_FAILED', { query: '{ inbox' }],
    ['a document that does not fit', 'GRAPHQL_VALIDATION_FAILED', { query: '{ nothing }' }],
    ['a missing variable', 'BAD_USER_INPUT', { query: send }],
    ['a variable that does not fit', 'BAD_USER_INPUT', { query: send, variables: { input: { ...input, title: 7 } } }],
    [
      'a scalar that does not fit',
      'BAD_USER_INPUT',
      { query: send, variables: { input: { ...input, expiresAt: 'tomorrow' } } },
    ],
    ['an expected failure', 'FORBIDDEN', { query: '{ history(after: "forbidden") { nodes { id } } }' }],
    ['what may pass', 'UNAVAILABLE', { query: '{ history(after: "unavailable") { nodes { id } } }' }],
    ['a connection that broke', 'UNAVAILABLE', { query: '{ history(after: "refused") { nodes { id } } }' }],
    ['what is unexpected', 'INTERNAL_SERVER_ERROR', { query: '{ history(after: "boom") { nodes { id } } }' }],
    [
      'a subscription that selects nothing',
      'BAD_USER_INPUT',
      { query: 'subscription { notifications @skip(if: true) { id } }' },
    ],
  ])('%s is %s', async (_, code, body) => {
    const { data, errors } = await run(body)
    expect(data ?? null).toBeNull()
    expect(errors).toEqual([expect.objectContaining({ extensions: expect.objectContaining({ code }) })])
    expect(JSON.stringify(errors)).not.toMatch(/secret|srv|10\.0\.0\.1|"http"|stack/)
  })
})

test('an error says where it happened', async () => {
  for (const run of Object.values(transports)) {
    const { errors } = await run({ query: '{ h: history(after: "forbidden") { nodes { id } } }' })
    expect(errors).toEqual([
      { message: 'not for you', path: ['h'], locations: [{ line: 1, column: 3 }], extensions: { code: 'FORBIDDEN' } },
    ])
  }
})

test.each(['sse', 'websocket'])('a subscription that is refused says why, over %s', async (transport) => {
  const answer = await transports[transport]?.({ query: 'subscription { notifications(after: "expired") { id } }' })
  expect(answer).toMatchObject({ errors: [{ message: 'too long ago', extensions: { code: 'CURSOR_EXPIRED' } }] })
})
