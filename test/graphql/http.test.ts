import { request as nodeRequest } from 'node:http'
import { afterAll, expect, test, vi } from 'vitest'
import { failures, startGraphql } from '../support/graphql-fixture.ts'

const allowed = 'https://app.example.com'
const server = await startGraphql({ allowedOrigins: [allowed] })
afterAll(() => server.close())

const inboxQuery = { query: '{ inbox { userId } }' }
const authorized = () => ({ authorization: `Bearer ${server.token()}` })

/** What fetch would not send. */
function raw(options: { method?: string; path?: string; headers?: Record<string, string>; chunks?: string[] }) {
  return new Promise<{ status: number | undefined; text: string; headers: NodeJS.Dict<string | string[]> }>(
    (resolve, reject) => {
      const { hostname, port } = new URL(server.url)
      const { chunks = [], ...rest } = options
      const request = nodeRequest({ hostname, port, path: '/graphql', method: 'POST', ...rest }, (response) => {
        let text = ''
        response.on('data', (chunk) => {
          text += chunk
        })
        response.on('end', () => resolve({ status: response.statusCode, text, headers: response.headers }))
      })
      request.on('error', reject)
      for (const chunk of chunks) request.write(chunk)
      request.end()
    },
  )
}

test('answers whose token it is', async () => {
  const response = await server.post(inboxQuery, { authorization: `Bearer ${server.token('bob')}` })
  expect(await response.json()).toEqual({ data: { inbox: { userId: 'bob' } } })
})

test('answers __typename and introspection without a token, and the rest with UNAUTHENTICATED', async () => {
  const typename = await server.post({ query: '{ __typename __schema { queryType { name } } }' })
  expect(await typename.json()).toEqual({ data: { __typename: 'Query', __schema: { queryType: { name: 'Query' } } } })
  const response = await server.post(inboxQuery)
  expect(response.status).toBe(200)
  expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] })
})

test('answers a token that does not hold with 401, whatever is asked', async () => {
  const response = await server.post({ query: '{ __typename }' }, { authorization: 'Bearer wrong' })
  expect(response.status).toBe(401)
  expect(response.headers.get('www-authenticate')).toBe('Bearer')
  expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] })
})

test('answers 503 while tokens can not be verified', async () => {
  const response = await server.post(inboxQuery, { authorization: 'Bearer down' })
  expect(response.status).toBe(503)
  expect(response.headers.get('retry-after')).toBe('5')
  expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'UNAVAILABLE' } }] })
})

test('takes queries by GET, and no mutations', async () => {
  const query = await fetch(`${server.url}?query=${encodeURIComponent('{ __typename }')}`)
  expect(await query.json()).toEqual({ data: { __typename: 'Query' } })
  const mutation = await fetch(`${server.url}?query=${encodeURIComponent('mutation { retractNotification(id: 1) }')}`)
  expect(mutation.status).toBe(405)
  expect(mutation.headers.get('allow')).toBe('POST')
  expect(server.control.mutations).toBe(0)
})

test('takes no mutation by GET whichever operation of the document is named', async () => {
  const document = 'query A { __typename } mutation B { retractNotification(id: 1) }'
  const response = await fetch(`${server.url}?operationName=B&query=${encodeURIComponent(document)}`)
  expect(response.status).toBe(405)
  expect(server.control.mutations).toBe(0)
})

test.each([
  ['malformed JSON', '{ "query": '],
  ['a batch', '[{ "query": "{ __typename }" }]'],
  ['a document without the operation', '{ "query": "query A { __typename }", "operationName": "B" }'],
])('answers %s with 400 and BAD_USER_INPUT', async (_, body) => {
  const response = await server.post(body, { accept: 'application/graphql-response+json' })
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'BAD_USER_INPUT' } }] })
})

test('answers variables of a GET that are not JSON with 400', async () => {
  const response = await fetch(`${server.url}?query={__typename}&variables={`)
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'BAD_USER_INPUT' } }] })
})

test('refuses the content types that a form of another site could send', async () => {
  for (const contentType of ['application/x-www-form-urlencoded', 'text/plain', 'multipart/form-data; boundary=x']) {
    const response = await server.post('query=mutation { retractNotification(id: 1) }', { 'content-type': contentType })
    expect(response.status).toBe(403)
    expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'FORBIDDEN' } }] })
  }
  expect(server.control.mutations).toBe(0)
})

test('refuses a body over its limit with 413, whether its length was announced or not', async () => {
  const query = `{ __typename } # ${'x'.repeat(20_000)}`
  const announced = await server.post({ query })
  expect(announced.status).toBe(413)
  expect(await announced.json()).toMatchObject({ errors: [{ extensions: { code: 'TOO_LARGE' } }] })
  const headers = { 'content-type': 'application/json', 'transfer-encoding': 'chunked' }
  const chunked = await raw({
    headers,
    chunks: ['{"query":"', ...Array.from({ length: 20 }, () => 'x'.repeat(1000)), '"}'],
  })
  expect(chunked.status).toBe(413)
  expect(JSON.parse(chunked.text)).toMatchObject({ errors: [{ extensions: { code: 'TOO_LARGE' } }] })
})

test('takes a body of exactly the limit', async () => {
  const body = JSON.stringify({ query: '{ __typename }', operationName: null })
  const response = await server.post(body + ' '.repeat(10_000 - body.length))
  expect(response.status).toBe(200)
})

test('keeps text beyond ASCII as it is, though a chunk ends in the middle of a character', async () => {
  const query = JSON.stringify({
    query:
      'mutation ($d: JSONObject) { sendNotification(input: { userId: "a", title: "t", data: $d }) { notification { data } } }',
    variables: { d: { text: '🔔ä' } },
  })
  const bytes = Buffer.from(query)
  const middle = bytes.indexOf(Buffer.from('🔔')) + 2
  const { hostname, port } = new URL(server.url)
  const headers = { 'content-type': 'application/json', ...authorized() }
  const answer = await new Promise<string>((resolve, reject) => {
    const request = nodeRequest({ hostname, port, path: '/graphql', method: 'POST', headers }, async (response) => {
      resolve((await response.toArray()).join(''))
    })
    request.on('error', reject)
    request.write(bytes.subarray(0, middle), () => request.end(bytes.subarray(middle)))
  })
  expect(JSON.parse(answer)).toEqual({ data: { sendNotification: { notification: { data: { text: '🔔ä' } } } } })
})

test('returns the request id: the one that was sent if it is plain, and else a new one', async () => {
  const sent = await server.post(inboxQuery, { 'x-request-id': 'abc-123' })
  expect(sent.headers.get('x-request-id')).toBe('abc-123')
  for (const bad of ['x'.repeat(65), 'a b', '"', '{}']) {
    const response = await server.post(inboxQuery, { 'x-request-id': bad })
    expect(response.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
  }
})

test('logs a line a request, without what was asked', async () => {
  await server.post(inboxQuery, { ...authorized(), 'x-request-id': 'logged' })
  await vi.waitFor(() => expect(server.log.find(({ requestId }) => requestId === 'logged')).toBeDefined())
  const line = server.log.find(({ requestId }) => requestId === 'logged')
  expect(line).toMatchObject({ level: 20, method: 'POST', status: 200, ms: expect.any(Number) })
  expect(JSON.stringify(server.log)).not.toMatch(/Bearer|userId/)
})

test('masks what is unexpected, and logs it once with its stack under the request id', async () => {
  const query = '{ history(after: "boom") { nodes { id } } }'
  const response = await server.post({ query }, { ...authorized(), 'x-request-id': 'boom-1' })
  const text = await response.text()
  expect(JSON.parse(text)).toMatchObject({
    data: null,
    errors: [{ message: 'Internal server error', extensions: { code: 'INTERNAL_SERVER_ERROR', requestId: 'boom-1' } }],
  })
  expect(text).not.toMatch(/select|srv|log\.ts|stack/)
  const logged = server.log.filter((line) => line.requestId === 'boom-1' && line.level === 50)
  expect(logged).toEqual([
    expect.objectContaining({
      err: expect.objectContaining({ message: failures.boom?.().message, stack: expect.any(String) }),
    }),
  ])
})

test('lets pages of allowed origins read the answers, and no others', async () => {
  const response = await server.post(inboxQuery, { origin: allowed })
  expect(response.headers.get('access-control-allow-origin')).toBe(allowed)
  expect(response.headers.get('vary')).toBe('origin')
  for (const origin of ['https://evil.example.com', 'null', `${allowed}.evil.com`]) {
    const other = await server.post(inboxQuery, { origin })
    expect(other.headers.has('access-control-allow-origin')).toBe(false)
  }
  const headers = {
    origin: allowed,
    'access-control-request-method': 'POST',
    'access-control-request-headers': 'authorization',
  }
  const preflight = await fetch(server.url, { method: 'OPTIONS', headers })
  expect(preflight.status).toBe(204)
  expect(preflight.headers.get('access-control-allow-origin')).toBe(allowed)
  expect(preflight.headers.get('access-control-allow-headers')).toContain('authorization')
})

test('answers 405 to other methods, 415 to other content types and 406 where it can not answer', async () => {
  const cases = [
    [{ method: 'PUT', headers: { 'content-type': 'application/json' }, chunks: ['{"query":"{__typename}"}'] }, 405],
    [{ headers: { 'content-type': 'application/xml' }, chunks: ['<a/>'] }, 415],
    [
      { headers: { 'content-type': 'application/json', accept: 'image/png' }, chunks: ['{"query":"{__typename}"}'] },
      406,
    ],
  ] as const
  for (const [options, status] of cases) {
    const response = await raw({ ...options, chunks: [...options.chunks] })
    expect(response.status).toBe(status)
    expect(JSON.parse(response.text)).toMatchObject({ errors: [{ extensions: { code: 'BAD_USER_INPUT' } }] })
  }
})

test('answers a subscription without an event stream with 406, and does not start it', async () => {
  const response = await server.post({ query: 'subscription { notifications { id } }' }, authorized())
  expect(response.status).toBe(406)
  expect(server.sources).toHaveLength(0)
})

test('answers JSON with 404 at unknown paths, and never guesses content types', async () => {
  for (const path of ['/', '/nothing', '/graphql/', '/constructor', '/__proto__']) {
    const response = await fetch(server.origin + path)
    expect(response.status).toBe(404)
    expect(response.headers.get('x-content-type-options')).toBe('nosniff')
    expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'NOT_FOUND' } }] })
  }
})

test('answers routes that others add', async () => {
  await using other = await startGraphql({ routes: { '/metrics': (_, response) => void response.end('up 1') } })
  expect(await (await fetch(`${other.origin}/metrics`)).text()).toBe('up 1')
})

test('masks a route that fails', async () => {
  await using other = await startGraphql({ routes: { '/x': () => Promise.reject(new Error('secret')) } })
  const response = await fetch(`${other.origin}/x`)
  expect(response.status).toBe(500)
  expect(await response.text()).not.toContain('secret')
})

test('refuses introspection, and suggestions that give the schema away, where it is switched off', async () => {
  await using closed = await startGraphql({ introspection: false })
  const introspection = await closed.post({ query: '{ __type(name: "Query") { name } }' })
  expect(await introspection.json()).toMatchObject({ errors: [{ extensions: { code: 'GRAPHQL_VALIDATION_FAILED' } }] })
  const misspelt = await closed.post({ query: '{ inbo { userId } }' })
  expect(await misspelt.text()).not.toMatch(/Did you mean|inbox/)
})
