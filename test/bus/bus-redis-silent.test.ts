// The Redis bus over connections that stay open and carry nothing, in one direction or both: Redis frozen, a cable pulled.
import { describe, expect, it, vi } from 'vitest'
import { publishBacklogCharactersMax } from '../../src/bus/bus-redis.ts'
import { probeBoundMs, probeIntervalMs, probeTickMs } from '../../src/bus/probe.ts'
import { commandTimeoutMs } from '../../src/redis.ts'
import { startProxy } from '../support/proxy.ts'
import { startRedis } from '../support/redis.ts'
import { listen, note } from './bus.contract.ts'
import { connectRedisBus, count, publishFromElsewhere, publishUntilHeard } from './redis-bus.ts'

const slackMs = 1_000

// They wait for the probe, so they wait together.
describe.concurrent('a connection that went silent', () => {
  it.each([
    { which: 'both', impairment: {} },
    { which: 'the subscriber’s, from Redis to here', impairment: { direction: 'toClient', which: /-subscriber/ } },
  ] as const)(
    'is noticed within two intervals of the probe without any traffic, made anew, and resumed from: $which',
    async ({ impairment }) => {
      await using redis = await startRedis()
      await using proxy = await startProxy({ targets: [redis.url] })
      await using connected = connectRedisBus(proxy)
      await using elsewhere = connectRedisBus({ url: redis.url, prefix: connected.prefix })
      const heard = await listen(connected.bus, 'alice')
      await vi.waitFor(() => expect(connected.lags.length).toBeGreaterThan(0), probeBoundMs)
      proxy.impair({ ...impairment, isOld: true, blackhole: true })
      const silentAt = performance.now()
      await vi.waitFor(
        () => expect(count(connected.logged, '"carillon-subscriber"')).toBeGreaterThan(0),
        2 * probeIntervalMs + slackMs,
      )
      expect(performance.now() - silentAt).toBeLessThan(2 * probeIntervalMs + slackMs / 2)
      expect(connected.bus.status().healthy).toBe(false)
      await vi.waitFor(() => expect(connected.counts.resumes).toBeGreaterThan(0), 5_000)
      await elsewhere.bus.publish([{ userId: 'alice', message: note('back') }])
      await vi.waitFor(() => expect(heard).toEqual([note('back')]))
      await vi.waitFor(() => expect(connected.bus.status()).toEqual({ healthy: true }), 2 * probeTickMs)
      expect(connected.counts.resumes).toBeGreaterThan(0)
    },
  )

  it('is made anew alone where it is the publisher’s, and the subscriber goes on', async () => {
    await using redis = await startRedis()
    await using proxy = await startProxy({ targets: [redis.url] })
    await using connected = connectRedisBus(proxy)
    await using elsewhere = connectRedisBus({ url: redis.url, prefix: connected.prefix })
    const heard = await listen(connected.bus, 'alice')
    const heardElsewhere = await listen(elsewhere.bus, 'alice')
    await vi.waitFor(() => expect(connected.bus.status().healthy).toBe(true))
    proxy.impair({ which: /-publisher/, direction: 'toClient', isOld: true, blackhole: true })
    const startedAt = performance.now()
    await connected.bus.publish([{ userId: 'alice', message: note('unanswered') }])
    expect(performance.now() - startedAt).toBeLessThan(commandTimeoutMs + slackMs)
    expect(connected.counts.publishErrors).toBe(1)
    await vi.waitFor(async () => {
      await connected.bus.publish([{ userId: 'alice', message: note('back') }])
      expect(heardElsewhere).toContainEqual(note('back'))
    }, 2_000)
    await publishFromElsewhere(redis, connected, [{ userId: 'alice', message: note('hello') }])
    await vi.waitFor(() => expect(heard).toContainEqual(note('hello')))
    expect(elsewhere.counts.resumes).toBe(0)
    expect(connected.counts.resumes).toBe(0)
  })

  it('is told from a quiet one: without any message the bus stays connected, and knows its lag', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus(redis)
    await listen(connected.bus, 'alice')
    await vi.waitFor(() => expect(connected.lags.length).toBeGreaterThanOrEqual(6), 8 * probeTickMs)
    for (const lag of connected.lags) expect(lag).toBeLessThan(1)
    expect(connected.counts.resumes).toBe(0)
    expect(connected.bus.status()).toEqual({ healthy: true })
  })
})

describe.concurrent('a Redis that is frozen', () => {
  it('is unhealthy, and heals with it', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus(redis)
    const heard: string[] = []
    expect(await connected.bus.listen('alice', ({ text }) => heard.push(text)).attached).toBe(true)
    redis.pause()
    await vi.waitFor(
      () => expect(count(connected.logged, '"carillon-subscriber"')).toBeGreaterThan(0),
      probeBoundMs + slackMs,
    )
    expect(connected.bus.status().healthy).toBe(false)
    redis.resume()
    await vi.waitFor(() => expect(connected.counts.resumes).toBeGreaterThan(0), 10_000)
    await using elsewhere = connectRedisBus({ url: redis.url, prefix: connected.prefix })
    await publishUntilHeard(elsewhere.bus, heard)
    await vi.waitFor(() => expect(connected.bus.status()).toEqual({ healthy: true }), probeBoundMs + slackMs)
  })

  it('delays what is published in the first second alone: after that it fails at once', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus(redis)
    const heard: string[] = []
    expect(await connected.bus.listen('alice', ({ text }) => heard.push(text)).attached).toBe(true)
    redis.pause()
    const pausedAt = performance.now()
    const published: { begunMs: number; tookMs: number }[] = []
    const publish = async () => {
      const startedAt = performance.now()
      await connected.bus.publish([{ userId: 'alice', message: note('lost') }])
      published.push({ begunMs: startedAt - pausedAt, tookMs: performance.now() - startedAt })
    }
    // Two at a time, as sends do: the second one comes while the first waits.
    await Promise.all([publish(), publish().then(publish)])
    while (performance.now() < pausedAt + 4_000) {
      await publish()
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    const slow = published.filter(({ tookMs }) => tookMs > commandTimeoutMs / 2)
    expect(slow.length).toBeGreaterThanOrEqual(2)
    expect(slow.filter(({ begunMs }) => begunMs > commandTimeoutMs + slackMs / 2)).toEqual([])
    expect(connected.counts.publishErrors).toBe(published.length)
    redis.resume()
    await using elsewhere = connectRedisBus({ url: redis.url, prefix: connected.prefix })
    await publishUntilHeard(elsewhere.bus, heard)
  })

  it('takes no more than a backlog of memory', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus(redis)
    await listen(connected.bus, 'alice')
    await vi.waitFor(() => expect(connected.bus.status().healthy).toBe(true))
    redis.pause()
    const message = note('x'.repeat(1024 * 1024))
    // The operating systems at both ends take some of it.
    const published = Array.from({ length: (3 * publishBacklogCharactersMax) / message.text.length }, () =>
      connected.bus.publish([{ userId: 'alice', message }]),
    )
    await new Promise((resolve) => setImmediate(resolve))
    expect(connected.counts.publishErrors).toBeGreaterThan(published.length / 3)
    expect(connected.counts.publishErrors).toBeLessThan(published.length)
    await Promise.all(published)
    expect(connected.counts.publishErrors).toBe(published.length)
  })
})
