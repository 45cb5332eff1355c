// Requests whose every character a test decides about, and a look at each answer for what must never be in one.
import { expect } from 'vitest'
import type { GraphqlResponse } from './server.ts'

const insides = [
  /\b(select|insert into|update|delete from)\b.{0,200}\b(from|where|set|values)\b/is,
  /\b(pg_|relation \\"|syntax error at or near|invalid byte sequence)/i,
  /node_modules|file:\/\/|\/(src|dist)\/|\.[cm]?[jt]s:\d/,
  /(\\n|^)\s+at \S/m,
]

/** No SQL, no path of a file, no stack. */
export function expectNoInsides(text: string): void {
  for (const pattern of insides) expect(text).not.toMatch(pattern)
}

/** The body goes as it stands. The server must neither fail nor tell of its insides. */
export async function post<Data>(url: string, token: string, body: string): Promise<GraphqlResponse<Data>> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body,
  })
  const text = await response.text()
  expect(response.status).toBeLessThan(500)
  expectNoInsides(text)
  return { status: response.status, ...JSON.parse(text) }
}

/** The body of a request with `input`, JSON text, as its only variable. */
export function bodyWith(query: string, input: string): string {
  return `{"query":${JSON.stringify(query)},"variables":{"input":${input}}}`
}

export function codesOf({ errors = [] }: { errors?: GraphqlResponse<unknown>['errors'] }): string[] {
  return errors.map(({ extensions }) => extensions.code)
}
