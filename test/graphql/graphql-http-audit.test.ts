// Both ways in are audited. With a query string in the address a request is for Yoga (plain-post.ts).
import { serverAudits } from 'graphql-http'
import { afterAll, describe, expect, test } from 'vitest'
import { startGraphql } from '../support/graphql-fixture.ts'

const server = await startGraphql()
afterAll(() => server.close())

describe.each(['', '?yoga'])('at /graphql%s', (search) => {
  for (const { name, fn } of serverAudits({ url: server.url + search })) {
    test(name, async () => {
      // The first makes the document known.
      await fn()
      expect(await fn()).toMatchObject({ status: 'ok' })
    })
  }
})
