import { createHash } from 'node:crypto'
import { request as nodeRequest } from 'node:http'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import { parse, validate } from 'graphql'
import { afterAll, expect, test } from 'vitest'
import { createSchema } from '../../src/graphql/schema.ts'
import { startGraphql } from '../support/graphql-fixture.ts'

const server = await startGraphql()
afterAll(() => server.close())

const browser = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' }

function get(headers: Record<string, string>) {
  return new Promise<{ status: number | undefined; headers: NodeJS.Dict<string | string[]>; body: Buffer }>(
    (resolve, reject) => {
      const { hostname, port } = new URL(server.url)
      const request = nodeRequest({ hostname, port, path: '/graphql', headers }, async (response) => {
        resolve({
          status: response.statusCode,
          headers: response.headers,
          body: Buffer.concat(await response.toArray()),
        })
      })
      request.on('error', reject)
      request.end()
    },
  )
}

test('a browser gets the page, compressed as it likes', async () => {
  const plain = await get(browser)
  expect(plain.status).toBe(200)
  expect(plain.headers['content-type']).toBe('text/html; charset=utf-8')
  const brotli = await get({ ...browser, 'accept-encoding': 'gzip, deflate, br' })
  expect(brotli.headers['content-encoding']).toBe('br')
  expect(brotli.body.length).toBeLessThan(3_000_000)
  expect(brotliDecompressSync(brotli.body).equals(plain.body)).toBe(true)
  const gzip = await get({ ...browser, 'accept-encoding': 'gzip' })
  expect(gzip.headers['content-encoding']).toBe('gzip')
  expect(gunzipSync(gzip.body).equals(plain.body)).toBe(true)
})

test('a browser that has the page is not sent it again', async () => {
  const { etag } = (await get(browser)).headers
  const again = await get({ ...browser, 'if-none-match': String(etag) })
  expect(again).toMatchObject({ status: 304 })
  expect(again.body).toHaveLength(0)
})

test('the page loads nothing from elsewhere, and its policy allows its own script alone', async () => {
  const { body, headers } = await get(browser)
  const html = String(body)
  expect(html).not.toMatch(/<(script|link|img)[^>]+(src|href)="(https?:)?\/\//)
  const policy = String(headers['content-security-policy'])
  const scripts = [...html.matchAll(/<script>([\s\S]*?)<\/script>/g)]
  expect(scripts).toHaveLength(1)
  for (const [, script = ''] of scripts) {
    expect(policy).toContain(`'sha256-${createHash('sha256').update(script).digest('base64')}'`)
  }
  expect(policy).toMatch(/^default-src 'none'; /)
  expect(policy).not.toMatch(/https?:|unsafe-eval/)
})

test('the operations that it offers fit the schema, and the fetcher has taken its place', async () => {
  const html = String((await get(browser)).body)
  const options = /"defaultQuery":("(?:[^"\\]|\\.)*")/.exec(html)?.[1]
  const document = parse(JSON.parse(options ?? ''))
  expect(validate(createSchema({}), document)).toEqual([])
  expect(document.definitions).toHaveLength(5)
  expect(html).toContain('"fetcher":((params, options) =>')
})

test('a client that is no browser gets answers at the same address', async () => {
  const response = await fetch(`${server.url}?query={__typename}`)
  expect(await response.json()).toEqual({ data: { __typename: 'Query' } })
})

test('is not there where it is switched off', async () => {
  await using closed = await startGraphql({ graphiql: false })
  const response = await fetch(closed.url, { headers: browser })
  expect(response.status).toBe(404)
  expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'NOT_FOUND' } }] })
  const query = await fetch(`${closed.url}?query={__typename}`, { headers: browser })
  expect(await query.json()).toEqual({ data: { __typename: 'Query' } })
})
