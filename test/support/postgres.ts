// A PostgreSQL for the tests: the one that TEST_DATABASE_URL names, or one of our own.
export interface TestServer extends AsyncDisposable {
  url: string
}

export async function startTestPostgres(): Promise<TestServer> {
  const url = process.env.TEST_DATABASE_URL
  if (url) return { url, async [Symbol.asyncDispose]() {} }
  throw new Error('set TEST_DATABASE_URL')
}
