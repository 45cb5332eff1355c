import { serverAudits } from 'graphql-http'
import { afterAll, expect, test } from 'vitest'
import { startGraphql } from '../support/graphql-fixture.ts'

const server = await startGraphql()
afterAll(() => server.close())

for (const { name, fn } of serverAudits({ url: server.url })) {
  test(name, async () => {
    const result = await fn()
    expect(result).toMatchObject({ status: 'ok' })
  })
}
