// One connection to Redis, through everything that may happen to it. That nothing is rejected unheard is what vitest
// itself looks for.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import { pino } from 'pino'
import { describe, expect, it, vi } from 'vitest'
import { commandTimeoutMs, connectRedis } from '../src/redis.ts'
import { startProxy } from './support/proxy.ts'
import { startRedis } from './support/redis.ts'

const slackMs = 700

describe.concurrent('a connection to Redis', () => {
  it('forgets what a frozen Redis does not answer within the bound of a command, and fails the next at once', async () => {
    await using redis = await startRedis()
    await using connection = connect(redis.url)
    const { client } = connection
    await vi.waitFor(() => expect(client.status).toBe('ready'))
    redis.pause()
    const payload = 'x'.repeat(20_000)
    const startedAt = performance.now()
    const published = Array.from({ length: 500 }, () => outcome(client.publish('channel', payload)))
    expect(unanswered(client)).toBe(500)
    expect(new Set(await Promise.all(published)).has('answered')).toBe(false)
    expect(performance.now() - startedAt).toBeLessThan(commandTimeoutMs + slackMs)
    await vi.waitFor(() => expect(unanswered(client)).toBeLessThan(10), { timeout: slackMs })
    // From now on only handshakes are under way, however long it takes.
    const tookMs: number[] = []
    for (let round = 0; round < 60; round++) {
      const askedAt = performance.now()
      expect(await outcome(client.publish('channel', payload))).not.toBe('answered')
      tookMs.push(performance.now() - askedAt)
      expect(unanswered(client)).toBeLessThan(10)
      expect(client.stream.writableLength).toBeLessThan(payload.length)
      await sleep(50)
    }
    // The machine may stand still for a moment; who waits for the bound does so each time.
    expect(tookMs.filter((ms) => ms > commandTimeoutMs / 2).length).toBeLessThan(3)
    expect(connection.problem()).toBeDefined()
    redis.resume()
    await vi.waitFor(async () => expect(await outcome(client.publish('channel', 'back'))).toBe('answered'), 5_000)
    expect(connection.problem()).toBeUndefined()
  })

  it('answers or fails every command within the bound while Redis is killed each second', async () => {
    await using redis = await startRedis()
    await using connection = connect(redis.url)
    const publishing = publishFor(connection.client, 4_500)
    for (let round = 0; round < 4; round++) {
      await sleep(1_000)
      await redis.kill()
      await redis.restart()
    }
    const { slowestMs, answered, failed } = await publishing
    expect(slowestMs).toBeLessThan(commandTimeoutMs + slackMs)
    expect(answered).toBeGreaterThan(0)
    expect(failed).toBeGreaterThan(0)
    await vi.waitFor(() => expect(connection.problem()).toBeUndefined(), 5_000)
  })

  it('answers or fails every command within the bound through pulled cables of every kind', async () => {
    await using redis = await startRedis()
    await using proxy = await startProxy({ targets: [redis.url] })
    await using connection = connect(proxy.url)
    const publishing = publishFor(connection.client, 6_000)
    for (const direction of ['toServer', 'toClient', undefined] as const) {
      await sleep(500)
      const lift = proxy.impair({ blackhole: true, ...(direction && { direction }) })
      await sleep(1_300)
      lift()
    }
    const { slowestMs, answered, failed } = await publishing
    expect(slowestMs).toBeLessThan(commandTimeoutMs + slackMs)
    expect(answered).toBeGreaterThan(0)
    expect(failed).toBeGreaterThan(0)
    await vi.waitFor(() => expect(connection.problem()).toBeUndefined(), 5_000)
  })

  it('fails a command in time that is answered late, and keeps the connection while anything arrives', async () => {
    await using redis = await startRedis()
    await using proxy = await startProxy({ targets: [redis.url] })
    await using connection = connect(proxy.url)
    await using elsewhere = connect(redis.url)
    const { client } = connection
    for (const one of [client, elsewhere.client]) await vi.waitFor(() => expect(one.status).toBe('ready'))
    await client.subscribe('noise')
    const noise = setInterval(() => void outcome(elsewhere.client.publish('noise', String(performance.now()))), 50)
    const lift = proxy.impair({ direction: 'toClient', delayMs: 2 * commandTimeoutMs })
    // From here on what is said comes that much later, and keeps coming.
    const delayed = new Promise<void>((resolve) => {
      client.on('message', (_, sentAt) => {
        if (performance.now() - Number(sentAt) > 1.5 * commandTimeoutMs) resolve()
      })
    })
    await delayed
    const askedAt = performance.now()
    expect(await outcome(client.ping())).toContain('timed out')
    expect(performance.now() - askedAt).toBeLessThan(commandTimeoutMs + slackMs)
    lift()
    await vi.waitFor(async () => expect(await outcome(client.ping())).toBe('answered'), 5_000)
    clearInterval(noise)
    expect(client.status).toBe('ready')
  })

  it('spreads its attempts while nobody listens, each in its own way, and closes between them', async () => {
    const connections = [connect('redis://127.0.0.1:1'), connect('redis://127.0.0.1:1')]
    const gaps = await Promise.all(connections.map(({ client }) => gapsOf(client, 4)))
    expect(Math.max(...gaps.flat())).toBeLessThan(1_500 + slackMs)
    const apart = gaps[0]?.map((gap, index) => Math.abs(gap - (gaps[1]?.[index] ?? 0))) ?? []
    expect(Math.max(...apart)).toBeGreaterThan(20)
    for (const { client, close } of connections) {
      expect(await outcome(client.publish('channel', 'lost'))).not.toBe('answered')
      await close()
    }
  })
})

function connect(url: string) {
  const connection = connectRedis(url, { name: 'test', logger: pino({ level: 'silent' }) })
  return { ...connection, [Symbol.asyncDispose]: connection.close }
}

/** Milliseconds between the next attempts to connect. */
async function gapsOf(client: Redis, count: number): Promise<number[]> {
  const attempts: number[] = []
  client.on('connecting', () => attempts.push(performance.now()))
  await vi.waitFor(() => expect(attempts.length).toBeGreaterThan(count), 10_000)
  return attempts.slice(1, count + 1).map((at, index) => at - (attempts[index] ?? 0))
}

/** One command after the other, and what became of them. */
async function publishFor(client: Redis, ms: number) {
  const seen = { slowestMs: 0, answered: 0, failed: 0 }
  const until = performance.now() + ms
  while (performance.now() < until) {
    const startedAt = performance.now()
    if ((await outcome(client.publish('channel', 'x'.repeat(1_000)))) === 'answered') seen.answered++
    else seen.failed++
    seen.slowestMs = Math.max(seen.slowestMs, performance.now() - startedAt)
    await sleep(5)
  }
  return seen
}

function outcome(command: Promise<unknown>): Promise<string> {
  return command.then(() => 'answered', String)
}

/** Commands that ioredis keeps, those that it has given up on included. */
function unanswered(client: Redis): number {
  const queue: unknown = Reflect.get(client, 'commandQueue')
  return Number(Reflect.get(Object(queue), 'length'))
}
