// Anything at all as content, ids, cursors, instants and page sizes: it is taken as it stands or refused for what it is,
// and never makes the server fail.
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { bodyWith, codesOf, expectNoInsides, post } from '../support/exact-request.ts'
import { type Fleet, serviceToken, startFleet } from '../support/server.ts'

const fields = 'category title body data url priority expiresAt'
const sendDocument = `mutation ($input: SendNotificationInput!) {
  sendNotification(input: $input) { notification { ${fields} } }
}`
const historyDocument = `query ($userId: ID) { history(userId: $userId, first: 1) { nodes { ${fields} } } }`

let fleet: Fleet
let service: string

beforeAll(async () => {
  fleet = await startFleet()
  service = await serviceToken()
})
afterAll(() => fleet[Symbol.asyncDispose]())

function query<Data>(document: string, variables: object) {
  return post<Data>(fleet.url, service, JSON.stringify({ query: document, variables }))
}

async function newest(userId: string) {
  const { data } = await query<{ history: { nodes: { data: unknown }[] } }>(historyDocument, { userId })
  return data?.history.nodes[0]
}

const runs = { numRuns: 200 }
/** Any sixteen bits at all, so lone surrogates and NULs too. */
const units = fc
  .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 8 })
  .map((some) => String.fromCharCode(...some))
const wild = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'grapheme' }),
  units,
  fc.constantFrom('', '\0', '\ud800', '\\u0000', "';--", '%00', 'null', '-1', 'NaN', '__proto__'),
)
const mostly = <T>(good: fc.Arbitrary<T>) => fc.oneof({ weight: 9, arbitrary: good }, { weight: 1, arbitrary: wild })
const instant = fc.date({ noInvalidDate: true }).map((date) => date.toISOString())
const future = fc
  .date({ min: new Date(Date.now() + 600_000), max: new Date('9999-12-31'), noInvalidDate: true })
  .map((date) => date.toISOString())
const keys = fc.oneof(fc.string({ unit: 'grapheme' }), fc.constant('__proto__'))
const json = fc.jsonValue({ maxDepth: 5, stringUnit: 'grapheme' })

const sends = fc.record(
  {
    userId: mostly(fc.uuid()),
    title: mostly(fc.string({ unit: 'binary', minLength: 1 })),
    body: mostly(fc.string({ unit: 'grapheme' })),
    category: mostly(fc.stringMatching(/^[a-z0-9._-]{1,20}$/)),
    data: fc.oneof(
      { weight: 9, arbitrary: fc.dictionary(keys, json, { noNullPrototype: false }) },
      { weight: 1, arbitrary: fc.dictionary(wild, wild) },
    ),
    url: mostly(fc.oneof(fc.webUrl(), fc.webPath())),
    priority: mostly(fc.constantFrom('LOW', 'NORMAL', 'HIGH', 'CRITICAL')),
    expiresAt: mostly(future),
  },
  { requiredKeys: ['userId', 'title'] },
)

test('what is accepted reads back as it was sent, and all else is BAD_USER_INPUT', async () => {
  let accepted = 0
  await fc.assert(
    fc.asyncProperty(sends, async (input) => {
      const text = JSON.stringify(input)
      const answer = await post<unknown>(fleet.url, service, bodyWith(sendDocument, text))
      if (answer.errors) {
        expect(new Set(codesOf(answer))).toEqual(new Set(['BAD_USER_INPUT']))
        return
      }
      accepted += 1
      const { userId, data = null, ...content } = JSON.parse(text)
      const stored = await newest(userId)
      expect(stored).toMatchObject(content)
      expect(JSON.stringify(stored?.data)).toBe(JSON.stringify(data))
    }),
    runs,
  )
  expect(accepted).toBeGreaterThan(runs.numRuns / 10)
})

const anything = fc.oneof(wild, fc.jsonValue(), fc.integer(), fc.double(), instant)
const cursorLike = fc.oneof(
  wild,
  fc.uint8Array({ minLength: 0, maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString('base64url')),
  fc
    .uint8Array({ minLength: 28, maxLength: 34 })
    .map((bytes) => Buffer.from([1, bytes.length > 30 ? 1 : 0, ...bytes]).toString('base64url')),
)
const text = fc.oneof(
  wild,
  cursorLike,
  fc.uuid(),
  wild.map((rest) => `inbox:${rest}`),
)
const page = fc.oneof(fc.integer(), fc.constantFrom(0, 1, 100, 101, -1, 2 ** 31, 0.5))
const filters = fc.record(
  {
    categories: fc.oneof(fc.array(wild), anything),
    priorities: fc.oneof(fc.array(fc.constantFrom('LOW', 'HIGH', 'x')), anything),
    read: fc.oneof(fc.boolean(), anything),
    archived: fc.oneof(fc.boolean(), fc.constant(null), anything),
    createdAfter: fc.oneof(instant, anything),
    createdBefore: fc.oneof(instant, anything),
  },
  { requiredKeys: [] },
)
const variables = fc.record(
  {
    id: fc.oneof(text, anything),
    ids: fc.oneof(fc.array(text), anything),
    userId: fc.oneof(wild, anything),
    after: fc.oneof(cursorLike, anything),
    before: fc.oneof(cursorLike, anything),
    first: fc.oneof(page, anything),
    last: fc.oneof(page, anything),
    filter: fc.oneof(filters, anything),
  },
  { requiredKeys: [] },
)
const documents = [
  'query ($id: ID = "x") { node(id: $id) { id } }',
  'query ($userId: ID, $first: Int, $after: String) { history(userId: $userId, first: $first, after: $after) { nodes { id } } }',
  'query ($last: Int, $before: String) { history(last: $last, before: $before) { nodes { id } } }',
  'query ($filter: NotificationFilter, $first: Int) { history(filter: $filter, first: $first) { nodes { id } } }',
  'query ($userId: ID) { inbox(userId: $userId) { id headCursor } }',
  'mutation ($ids: [ID!]) { markRead(ids: $ids) { count } }',
  'mutation ($after: String, $before: String) { markDelivered(upTo: $before, after: $after) { count } }',
  'mutation ($ids: [ID!] = []) { markUnread(ids: $ids) { count } }',
  'mutation ($id: ID = "x") { retractNotification(id: $id) }',
]
const expected = new Set(['BAD_USER_INPUT', 'CURSOR_INVALID'])

test('garbage for ids, cursors, instants and page sizes never makes the server fail', async () => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...documents), variables, async (document, given) => {
      const answer = await query<unknown>(document, given)
      for (const code of codesOf(answer)) expect(expected).toContain(code)
    }),
    runs,
  )
})

test('garbage for the cursor of a subscription ends it with CURSOR_INVALID', async () => {
  const document = 'subscription ($after: String) { notifications(after: $after) { id } }'
  await fc.assert(
    fc.asyncProperty(cursorLike, async (after) => {
      const response = await fetch(`${fleet.url}/graphql`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'text/event-stream',
          authorization: `Bearer ${service}`,
        },
        body: JSON.stringify({ query: document, variables: { after } }),
      })
      const events = await response.text()
      expect(events).toContain('"code":"CURSOR_INVALID"')
      expectNoInsides(events)
    }),
    { numRuns: 50 },
  )
})
