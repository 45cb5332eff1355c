// The plain way and Yoga's answer alike. With a query string in the address a request is not plain any more, so that both
// ways are asked the same of one server.
import { afterAll, describe, expect, test } from 'vitest'
import { startGraphql } from '../support/graphql-fixture.ts'

const server = await startGraphql()
afterAll(() => server.close())
const plainUrl = server.url
const yogaUrl = `${server.url}?yoga`

const send = 'mutation ($title: String!) { sendNotification(input: { userId: "a", title: $title }) { duplicate } }'
const inbox = 'query A { inbox { userId } } query B { __typename }'
const authorization = `Bearer ${server.token()}`

interface Case {
  name: string
  body: unknown
  headers?: Record<string, string>
}

const cases: Case[] = [
  { name: 'a query', body: { query: '{ __typename }' } },
  { name: 'a mutation', body: { query: send, variables: { title: 'A' } } },
  { name: 'a field that failed', body: { query: '{ inbox { userId } }' }, headers: { authorization: '' } },
  { name: 'a field that failed unexpectedly', body: { query: '{ node(id: "unexpected") { id } }' } },
  { name: 'a variable that does not fit', body: { query: send, variables: { title: 1 } } },
  { name: 'a variable that is missing', body: { query: send } },
  { name: 'variables that are null', body: { query: '{ __typename }', variables: null } },
  { name: 'variables that are a list', body: { query: '{ __typename }', variables: [] } },
  { name: 'a named operation', body: { query: inbox, operationName: 'A' } },
  { name: 'no name where there are two operations', body: { query: inbox } },
  { name: 'a name that no operation has', body: { query: inbox, operationName: 'C' } },
  { name: 'a name that is a number', body: { query: inbox, operationName: 1 } },
  { name: 'extensions', body: { query: '{ __typename }', extensions: {} } },
  { name: 'extensions that are a text', body: { query: '{ __typename }', extensions: 'x' } },
  { name: 'a parameter that there is not', body: { query: '{ __typename }', more: 1 } },
  { name: 'a subscription', body: { query: 'subscription { notifications { id } }' } },
  { name: 'a document that is not valid', body: { query: '{ nothing }' } },
  { name: 'a batch', body: [{ query: '{ __typename }' }] },
  { name: 'no document', body: {} },
  { name: 'a body that is no JSON', body: '{' },
]
const accepts = [
  undefined,
  '*/*',
  'application/json',
  'application/graphql-response+json',
  'application/graphql-response+json, application/json',
  'application/graphql-response+json,application/json;q=0.9',
  'text/plain',
]
const contentTypes = ['application/json', 'application/json; charset=utf-8', 'Application/JSON', 'text/plain']

async function ask(url: string, { body, headers }: Case, accept: string | undefined, contentType: string) {
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': contentType,
      authorization,
      'x-request-id': 'same',
      ...headers,
      ...(accept !== undefined && { accept }),
    },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
  const { date: _, ...answered } = Object.fromEntries(response.headers)
  return { status: response.status, headers: answered, text: await response.text() }
}

describe.each(accepts)('accepting %s', (accept) => {
  test.each(cases)('both answer $name alike', async (one) => {
    for (const contentType of contentTypes) {
      // The first makes the document known.
      const first = await ask(yogaUrl, one, accept, contentType)
      expect(await ask(plainUrl, one, accept, contentType)).toEqual(first)
    }
  })
})

test('a mutation that is answered in the plain way is carried out once', async () => {
  const { mutations } = server.control
  const one = {
    name: '',
    body: { query: 'mutation ($id: ID!) { retractNotification(id: $id) }', variables: { id: 'once' } },
  }
  for (let i = 0; i < 3; i++) await ask(plainUrl, one, undefined, 'application/json')
  expect(server.control.mutations).toBe(mutations + 3)
})
