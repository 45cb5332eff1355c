// Whatever is sent comes back as it was, over every transport, or is refused with BAD_USER_INPUT; nothing makes the
// server fail, and no answer tells of its insides.
import { randomUUID } from 'node:crypto'
import { createClient as createSseClient } from 'graphql-sse'
import { createClient as createSocketClient } from 'graphql-ws'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import WebSocket from 'ws'
import { jsonDepthMax } from '../../src/graphql/scalars.ts'
import { bodyWith, codesOf, expectNoInsides, post } from '../support/exact-request.ts'
import { RawSocket } from '../support/raw-socket.ts'
import { type Fleet, type GraphqlResponse, serviceToken, startFleet, tokenFor } from '../support/server.ts'

interface Content {
  category: string
  title: string
  body: string | null
  data: unknown
  url: string | null
  priority: string
  expiresAt: string | null
}

const fields = 'category title body data url priority expiresAt'
const sendDocument = `mutation ($input: SendNotificationInput!) {
  sendNotification(input: $input) { notification { ${fields} } }
}`
const historyDocument = `query ($userId: ID) { history(userId: $userId, first: 1) { nodes { ${fields} } } }`
const subscriptionDocument = `subscription { notifications { ${fields} } }`

let fleet: Fleet
let service: string

beforeAll(async () => {
  fleet = await startFleet()
  service = await serviceToken()
})
afterAll(() => fleet[Symbol.asyncDispose]())

const sendText = (input: string) => bodyWith(sendDocument, input)

function query<Data>(document: string, variables: object, token = service): Promise<GraphqlResponse<Data>> {
  return post(fleet.url, token, JSON.stringify({ query: document, variables }))
}

async function newest(userId: string): Promise<Content | undefined> {
  const { data } = await query<{ history: { nodes: Content[] } }>(historyDocument, { userId })
  return data?.history.nodes[0]
}

const isResult = (value: unknown): value is { errors?: GraphqlResponse<unknown>['errors'] } =>
  typeof value === 'object' && value !== null

const nested = (levels: number) => `${'{"a":'.repeat(levels)}0${'}'.repeat(levels)}`

describe('what comes back is what was sent', () => {
  const texts = {
    'joined emoji': '👩‍👩‍👧‍👦🏳️‍🌈',
    'from right to left': '\u202bשלום عليكم\u202c abc',
    'combining, in either form': 'e\u0301 \u00e9 n\u0303\u0303\u0303',
    'outside the plane': '𝒳𠜎\u{10ffff}',
    'control characters': '\u0001\t\r\n\u001f\u007f\u2028\u2029\ufeff',
    'quotes and backslashes': `"'\\u0000 \\ \\\\ $1 %s \${x} {{ user }} '; --`,
  }
  const objects = {
    'an empty object': '{}',
    'empty objects and arrays in one another': '{"a":[],"b":{},"c":[[],{},[[{}]]],"d":null,"":""}',
    'keys in their order': '{"z":1,"a":2,"m":{"y":1,"b":[{"q":1,"c":2}]},"Z":3,"é":4,"10x":5}',
    'keys that objects have anyway':
      '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"toString":0}',
    'numbers of all kinds': '[0,-1,0.1,1e21,-1.5e-7,9007199254740991,1.7976931348623157e308,5e-324]',
    'as deep as it may be': nested(jsonDepthMax),
    'as long as it may be': JSON.stringify({ long: 'x'.repeat(16 * 1024 - '{"long":""}'.length) }),
  }
  const inputs = {
    ...Object.fromEntries(
      Object.entries(texts).map(([name, text]) => {
        const title = JSON.stringify(text)
        return [name, `"title":${title},"body":${title},"data":{${title}:[${title}]}`]
      }),
    ),
    ...Object.fromEntries(
      Object.entries(objects).map(([name, text]) => [
        name,
        `"title":"Hello","data":${text.startsWith('[') ? `{"list":${text}}` : text}`,
      ]),
    ),
    'texts as long as they may be': JSON.stringify({
      title: '🎉'.repeat(200),
      body: '🎉'.repeat(4_000),
      url: `/${'x'.repeat(2_047)}`,
    }).slice(1, -1),
  }

  test.each(Object.entries(inputs))('%s', async (_, text) => {
    const userId = randomUUID()
    const token = await tokenFor(userId)
    const overSocket = createSocketClient({
      url: `${fleet.url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { authorization: token },
    })
    const overSse = createSseClient({ url: `${fleet.url}/graphql`, headers: { authorization: `Bearer ${token}` } })
    const streams = [
      overSocket.iterate<{ notifications: Content }>({ query: subscriptionDocument }),
      overSse.iterate<{ notifications: Content }>({ query: subscriptionDocument }),
    ]
    const input = `{"userId":"${userId}",${text}}`
    const sent = await post<{ sendNotification: { notification: Content } }>(fleet.url, service, sendText(input))
    const results = [
      sent.data?.sendNotification.notification,
      await newest(userId),
      ...(await Promise.all(streams.map(async (stream) => (await stream.next()).value?.data?.notifications))),
    ]
    await overSocket.dispose()
    overSse.dispose()

    const defaults = { category: 'general', body: null, data: null, url: null, priority: 'NORMAL', expiresAt: null }
    const { userId: _userId, ...content } = JSON.parse(input)
    for (const result of results) {
      expect(result).toEqual({ ...defaults, ...content })
      // The order of keys too, and what `toEqual` takes for a prototype.
      expect(JSON.stringify(result?.data)).toBe(JSON.stringify(content.data ?? null))
    }
  })

  test('data that is written into the document', async () => {
    const userId = randomUUID()
    const data = '{ z: 1, __proto__: { polluted: true }, a: [[], {}, null, -1.5e3, "é", ENUM] }'
    const document = `mutation { sendNotification(input: { userId: "${userId}", title: "Hello", data: ${data} }) { duplicate } }`
    expect(await query(document, {})).toEqual({ status: 200, data: { sendNotification: { duplicate: false } } })
    expect(JSON.stringify((await newest(userId))?.data)).toBe(
      '{"z":1,"__proto__":{"polluted":true},"a":[[],{},null,-1500,"é","ENUM"]}',
    )
  })
})

describe('BAD_USER_INPUT, over HTTP and over WebSocket, is the answer to', () => {
  const base = { userId: 'alice', title: 'Hello' }
  const withField = (field: object) => JSON.stringify({ ...base, ...field })
  const inputs = {
    'a NUL in a title': withField({ title: 'a\0b' }),
    'a NUL in a body': withField({ body: '\0' }),
    'a NUL in a user id': withField({ userId: 'al\0ice' }),
    'a NUL in an idempotency key': withField({ idempotencyKey: '\0' }),
    'a NUL in data': withField({ data: { deep: ['\0'] } }),
    'a NUL in a key of data': withField({ data: { 'a\0': 1 } }),
    'a lone surrogate in a title': withField({ title: 'a\ud800' }),
    'a lone surrogate in a body': withField({ body: '\udc00b' }),
    'a lone surrogate in a user id': withField({ userId: '\udfff' }),
    'a lone surrogate in a url': withField({ url: '/\ud83d' }),
    'a lone surrogate in data': withField({ data: { deep: ['\ud83d'] } }),
    'a lone surrogate in a key of data': withField({ data: { '\udc00': 1 } }),
    'an empty title': withField({ title: '' }),
    'a title that is too long': withField({ title: '🎉'.repeat(201) }),
    'a body that is too long': withField({ body: 'x'.repeat(4_001) }),
    'a user id that is too long': withField({ userId: 'x'.repeat(201) }),
    'an empty user id': withField({ userId: '' }),
    'an idempotency key that is too long': withField({ idempotencyKey: 'x'.repeat(256) }),
    'a category that is too long': withField({ category: 'x'.repeat(101) }),
    'a category with a capital letter': withField({ category: 'Order' }),
    'data that is too long': withField({ data: { long: 'x'.repeat(16 * 1024) } }),
    'data that is nested too deeply': `{"userId":"alice","title":"Hello","data":${nested(jsonDepthMax + 1)}}`,
    'data that is far too deep': `{"userId":"alice","title":"Hello","data":${nested(10_000)}}`,
    'data that is a list': withField({ data: [] }),
    'data that is a text': withField({ data: '{}' }),
    'a number that is none': '{"userId":"alice","title":"Hello","data":{"a":1e999}}',
    'a url that is too long': withField({ url: `/${'x'.repeat(2_048)}` }),
    'a javascript: url': withField({ url: 'javascript:alert(1)' }),
    'a javascript: url in disguise': withField({ url: ' JaVa\tscript:alert(1)' }),
    'a data: url': withField({ url: 'data:text/html,x' }),
    'a url of another host that looks like a path': withField({ url: '//evil.example/x' }),
    'the same with a backslash': withField({ url: '/\\evil.example' }),
    'an expiry in the past': withField({ expiresAt: '2020-01-01T00:00:00Z' }),
    'an expiry that is no instant': withField({ expiresAt: '2099-02-30T00:00:00Z' }),
    'an expiry that is a number': withField({ expiresAt: 4102444800000 }),
    'a priority that there is not': withField({ priority: 'URGENT' }),
    'a field that there is not': withField({ colour: 'red' }),
    'a title that is a number': withField({ title: 1 }),
    'no title': '{"userId":"alice"}',
    nothing: 'null',
  }

  test.each(Object.entries(inputs))('%s', async (_, input) => {
    const overHttp = await post(fleet.url, service, sendText(input))
    expect(codesOf(overHttp)).toEqual(['BAD_USER_INPUT'])
    expect((await mutate(input)).errors).toEqual(overHttp.errors)
  })

  async function mutate(input: string): Promise<{ errors?: GraphqlResponse<unknown>['errors'] }> {
    await using socket = await new RawSocket(`${fleet.url.replace('http', 'ws')}/graphql`).ready(service)
    socket.send(`{"id":"1","type":"subscribe","payload":${sendText(input)}}`)
    const { payload } = await socket.next('next')
    await socket.next('complete')
    expectNoInsides(JSON.stringify(payload))
    return isResult(payload) ? payload : {}
  }

  test('nothing else in a batch', async () => {
    const document = `mutation ($inputs: [SendNotificationInput!]!) {
      sendNotifications(inputs: $inputs) { payload { notification { title } } error { code } }
    }`
    const titled = (title: string) => ({ ...base, title })
    const inputs = [titled('one'), titled('\0'), titled('two'), { ...titled('x'), url: 'javascript:x' }]
    expect((await query<{ sendNotifications: unknown }>(document, { inputs })).data?.sendNotifications).toEqual([
      { payload: { notification: { title: 'one' } }, error: null },
      { payload: null, error: { code: 'BAD_USER_INPUT' } },
      { payload: { notification: { title: 'two' } }, error: null },
      { payload: null, error: { code: 'BAD_USER_INPUT' } },
    ])
  })
})

describe.each(['', 'al\0ice', '\ud800', 'x'.repeat(201)])('a user id that nobody can have: %j', (userId) => {
  test.each([
    'query ($userId: ID!) { inbox(userId: $userId) { id } }',
    'query ($userId: ID!) { history(userId: $userId) { nodes { id } } }',
  ])('%s is BAD_USER_INPUT', async (document) => {
    expect(codesOf(await query(document, { userId }))).toEqual(['BAD_USER_INPUT'])
    // Those who may not name anybody learn nothing from it.
    expect(codesOf(await query(document, { userId }, await tokenFor('bob')))).toEqual(['FORBIDDEN'])
  })

  test('has no inbox', async () => {
    const document = 'query ($id: ID!) { node(id: $id) { id } }'
    expect(await query(document, { id: `inbox:${userId}` })).toEqual({ status: 200, data: { node: null } })
  })
})
