// The Redis bus when Redis is away, restarts, hangs, cuts it off or carries what is no message.
import { Redis } from 'ioredis'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { attachTimeoutMs } from '../../src/bus/bus.ts'
import { createRedisBus } from '../../src/bus/bus-redis.ts'
import { probeBoundMs, probeIntervalMs } from '../../src/bus/probe.ts'
import { commandTimeoutMs } from '../../src/redis.ts'
import { type OwnRedis, startRedis } from '../support/redis.ts'
import { listen, note } from './bus.contract.ts'
import { type ConnectedBus, captureLog, connectRedisBus } from './redis-bus.ts'
import { startSilentProxy } from './silent-proxy.ts'

const slackMs = 1_500

describe('a Redis that comes and goes', () => {
  it('starts without Redis, says so, and attaches what listens when Redis comes', async () => {
    await using redis = await startRedis()
    await redis.stop()
    await using connected = connectRedisBus(redis)
    const { bus, counts } = connected
    const heard: string[] = []
    const startedAt = performance.now()
    expect(await bus.listen('alice', ({ text }) => heard.push(text)).attached).toBe(false)
    expect(performance.now() - startedAt).toBeLessThan(attachTimeoutMs + slackMs)
    expect(bus.status()).toEqual({ healthy: false, reason: expect.stringContaining('ECONNREFUSED') })
    expect(counts.resumes).toBe(0)

    await redis.restart()
    await vi.waitFor(() => expect(counts.resumes).toBe(1), 5_000)
    await publishUntilHeard(connected, heard)
    expect(bus.status()).toEqual({ healthy: true })
    expect(count(connected.logged, 'not reachable')).toBeLessThanOrEqual(2)
    expect(count(connected.logged, 'reachable again')).toBe(2)
  })

  it('goes on, and has everybody look for what was missed, after Redis restarted', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus({ url: redis.url, channels: 16 })
    const users = Array.from({ length: 100 }, (_, index) => `user-${index}`)
    const heard = await Promise.all(users.map((userId) => listen(connected.bus, userId)))
    expect(connected.counts.resumes).toBe(0)
    await redis.restart()
    await vi.waitFor(() => expect(connected.counts.resumes).toBe(1), 5_000)
    await vi.waitFor(() => expect(connected.bus.status().healthy).toBe(true), 5_000)
    await connected.bus.publish(users.map((userId) => ({ userId, message: note('back') })))
    await vi.waitFor(() => expect(heard).toEqual(users.map(() => [note('back')])))
  })

  it('notices that Redis cut its subscriber off', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus(redis)
    const heard = await listen(connected.bus, 'alice')
    const admin = adminOf(redis)
    for (let round = 1; round <= 3; round++) {
      await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
      await vi.waitFor(() => expect(connected.counts.resumes).toBe(round), 5_000)
      await connected.bus.publish([{ userId: 'alice', message: note('back', round) }])
      await vi.waitFor(() => expect(heard).toHaveLength(round))
    }
  })

  it('is not attached while reconnecting, though it was before', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus(redis)
    await listen(connected.bus, 'alice')
    await redis.stop()
    await vi.waitFor(() => expect(connected.bus.status().healthy).toBe(false))
    expect(await connected.bus.listen('alice', () => {}).attached).toBe(false)
    await redis.restart()
    await vi.waitFor(() => expect(connected.counts.resumes).toBe(1), 5_000)
    expect(await connected.bus.listen('alice', () => {}).attached).toBe(true)
  })

  it('answers a publish without Redis at once, counts it, and logs once', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus(redis)
    await listen(connected.bus, 'alice')
    await redis.stop()
    const startedAt = performance.now()
    for (let round = 1; round <= 5; round++) {
      await connected.bus.publish([{ userId: 'alice', message: note('secret text') }])
      expect(connected.counts.publishErrors).toBe(round)
    }
    expect(performance.now() - startedAt).toBeLessThan(commandTimeoutMs)
    expect(count(connected.logged, 'could not be published')).toBe(1)
    expect(connected.logged.join()).not.toContain('secret text')
  })

  it('answers a publish to a Redis that hangs within its bound', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus(redis)
    await listen(connected.bus, 'alice')
    redis.pause()
    const startedAt = performance.now()
    await connected.bus.publish([{ userId: 'alice', message: note('lost') }])
    expect(performance.now() - startedAt).toBeLessThan(commandTimeoutMs + slackMs)
    expect(connected.counts.publishErrors).toBe(1)
  })

  it('fails a publish at once whose connection breaks under way', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus(redis)
    await listen(connected.bus, 'alice')
    redis.pause()
    const published = connected.bus.publish([{ userId: 'alice', message: note('lost') }])
    const startedAt = performance.now()
    process.kill(redis.pid, 'SIGKILL')
    await published
    expect(performance.now() - startedAt).toBeLessThan(commandTimeoutMs - 200)
    expect(connected.counts.publishErrors).toBe(1)
  })

  it('closes after Redis took what was published before, be it slow', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus({ url: redis.url, channels: 64 })
    await using elsewhere = connectRedisBus({ url: redis.url, channels: 64, prefix: connected.prefix })
    const users = Array.from({ length: 100 }, (_, index) => `user-${index}`)
    const heard = await Promise.all(users.map((userId) => listen(elsewhere.bus, userId)))
    await vi.waitFor(() => expect(connected.bus.status().healthy).toBe(true))
    redis.pause()
    const published = connected.bus.publish(users.map((userId) => ({ userId, message: note('goodbye') })))
    // Longer than a connection that is being closed waits for the other end, shorter than a command may take.
    setTimeout(redis.resume, commandTimeoutMs / 3)
    await connected.bus.close()
    await published
    expect(connected.counts.publishErrors).toBe(0)
    await vi.waitFor(() => expect(heard).toEqual(users.map(() => [note('goodbye')])))
  })

  it('closes without Redis, with listeners waiting and with a publish under way', async () => {
    await using redis = await startRedis()
    await using away = connectRedisBus({ url: 'redis://127.0.0.1:1' })
    const waiting = away.bus.listen('alice', () => {})
    await away.bus.close()
    expect(await waiting.attached).toBe(false)

    await using hanging = connectRedisBus(redis)
    await listen(hanging.bus, 'alice')
    redis.pause()
    const other = hanging.bus.listen('alice', () => {})
    const published = hanging.bus.publish([{ userId: 'alice', message: note('lost') }])
    const startedAt = performance.now()
    await Promise.all([hanging.bus.close(), published, other.attached])
    expect(performance.now() - startedAt).toBeLessThan(commandTimeoutMs + slackMs)
  })

  it('closes while a subscription is under way', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus({ url: redis.url, channels: 64 })
    await listen(connected.bus, 'alice')
    redis.pause()
    const waiting = Array.from({ length: 64 }, (_, index) => connected.bus.listen(`user-${index}`, () => {}))
    await connected.bus.close()
    for (const { attached } of waiting) expect(await attached).toBeTypeOf('boolean')
  })
})

// They wait for the probe, so they wait together.
describe.concurrent('a connection that went silent', () => {
  it('is noticed by the probe, made anew, and resumed from', async () => {
    await using redis = await startRedis()
    await using proxy = await startSilentProxy(redis.port)
    await using connected = connectRedisBus(proxy)
    await using elsewhere = connectRedisBus({ url: redis.url, prefix: connected.prefix })
    const heard = await listen(connected.bus, 'alice')
    proxy.silence()
    const silentAt = performance.now()
    await vi.waitFor(() => expect(connected.bus.status().healthy).toBe(false), probeBoundMs + slackMs)
    expect(performance.now() - silentAt).toBeLessThan(probeBoundMs + slackMs)
    await vi.waitFor(() => expect(connected.counts.resumes).toBe(1), 5_000)
    await elsewhere.bus.publish([{ userId: 'alice', message: note('back') }])
    await vi.waitFor(() => expect(heard).toEqual([note('back')]))
    await vi.waitFor(() => expect(connected.bus.status()).toEqual({ healthy: true }), probeBoundMs + slackMs)
  })

  it('is unhealthy while Redis hangs, and heals with it', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus(redis)
    const heard: string[] = []
    expect(await connected.bus.listen('alice', ({ text }) => heard.push(text)).attached).toBe(true)
    redis.pause()
    await vi.waitFor(() => expect(connected.bus.status().healthy).toBe(false), probeBoundMs + slackMs)
    redis.resume()
    await vi.waitFor(() => expect(connected.counts.resumes).toBeGreaterThan(0), 10_000)
    await publishUntilHeard(connected, heard)
    await vi.waitFor(() => expect(connected.bus.status()).toEqual({ healthy: true }), probeBoundMs + slackMs)
  })

  it('is told from a quiet one: without any message the bus stays connected, and knows its lag', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus(redis)
    await listen(connected.bus, 'alice')
    await vi.waitFor(() => expect(connected.lags.length).toBeGreaterThanOrEqual(4), 5 * probeIntervalMs)
    for (const lag of connected.lags) expect(lag).toBeLessThan(1)
    expect(connected.counts.resumes).toBe(0)
    expect(connected.bus.status()).toEqual({ healthy: true })
  })
})

describe('what is in Redis', () => {
  it('keeps no channel after its last listener left', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus({ url: redis.url, channels: 32 })
    const admin = adminOf(redis)
    const channelsInRedis = async () => {
      const channels = await admin.pubsub('CHANNELS', '*')
      return channels.map(String).filter((channel) => !channel.startsWith(`${connected.prefix}:probe:`))
    }
    const heard = await listen(connected.bus, 'stays')
    const kept = await channelsInRedis()
    expect(kept).toHaveLength(1)
    for (let cycle = 0; cycle < 10_000; cycle++) {
      const listening = connected.bus.listen(`user-${cycle}`, () => {})
      if (cycle % 1_000 === 0) await listening.attached
      listening.close()
      listening.close()
    }
    await vi.waitFor(async () => expect(await channelsInRedis()).toEqual(kept), 3 * probeIntervalMs)
    expect(await admin.pubsub('NUMPAT')).toBe(0)
    await connected.bus.publish([{ userId: 'stays', message: note('still here') }])
    await vi.waitFor(() => expect(heard).toEqual([note('still here')]))
    await connected.bus.close()
    await vi.waitFor(async () => expect(await channelsInRedis()).toEqual([]))
  })

  it('is one message a channel for a batch', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus({ url: redis.url, channels: 4 })
    const watcher = adminOf(redis)
    const seen: string[] = []
    watcher.on('pmessage', (_pattern: string, channel: string) => {
      if (!channel.includes(':probe:')) seen.push(channel)
    })
    await watcher.psubscribe(`${connected.prefix}:*`)
    await vi.waitFor(() => expect(connected.bus.status().healthy).toBe(true))
    const users = Array.from({ length: 200 }, (_, index) => `user-${index}`)
    await connected.bus.publish(users.map((userId) => ({ userId, message: note('hello') })))
    await vi.waitFor(() => expect(seen.length).toBe(4))
    expect(new Set(seen).size).toBe(4)
  })

  it('is logged once where it is no message, and never delivered, and what follows arrives', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus(redis)
    const heard = await listen(connected.bus, 'alice')
    const admin = adminOf(redis)
    const channel = `${connected.prefix}:0`
    const garbage = [
      'private words',
      '',
      '\n',
      '{}\n',
      '["alice",100]\n{}',
      '["alice",-5]\n{}',
      '["alice"]\n{}',
      '["alice",4]\nnull',
      '["alice",2]\n{{',
      '["alice",2]\n{}',
      Buffer.from([0xff, 0xfe, 0x0a, 0x00]),
    ]
    for (const payload of garbage) await admin.publish(channel, payload)
    // A bad message among good ones takes none of them along.
    await admin.publish(channel, '["alice",2,"alice",24]\n{}{"text":"ok","number":1}')
    await connected.bus.publish([{ userId: 'alice', message: note('good') }])
    await vi.waitFor(() => expect(heard).toEqual([note('ok', 1), note('good')]))
    expect(count(connected.logged, 'not a message')).toBe(1)
    expect(connected.logged.join()).not.toContain('private')
  })

  it('is left alone by a deployment with another prefix', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus(redis)
    await using stranger = connectRedisBus(redis)
    const heard = await listen(connected.bus, 'alice')
    const unheard = await listen(stranger.bus, 'alice')
    await stranger.bus.publish([{ userId: 'alice', message: note('for strangers') }])
    await connected.bus.publish([{ userId: 'alice', message: note('for us') }])
    await vi.waitFor(() => expect([heard, unheard]).toEqual([[note('for us')], [note('for strangers')]]))
  })

  it('may be refused by its access rules: unhealthy with the reason, and attached once allowed', async () => {
    await using redis = await startRedis()
    const admin = adminOf(redis)
    await admin.acl('SETUSER', 'carillon', 'on', '>pass word', '+@all', '~*', 'resetchannels')
    const url = `redis://carillon:pass%20word@127.0.0.1:${redis.port}`
    await using connected = connectRedisBus({ url })
    const heard: string[] = []
    expect(await connected.bus.listen('alice', ({ text }) => heard.push(text)).attached).toBe(false)
    expect(connected.bus.status().reason).toContain('NOPERM')
    expect(count(connected.logged, 'refused to subscribe')).toBe(1)
    await connected.bus.publish([{ userId: 'alice', message: note('refused') }])
    expect(connected.counts.publishErrors).toBe(1)
    await admin.acl('SETUSER', 'carillon', 'allchannels')
    await vi.waitFor(() => expect(connected.counts.resumes).toBe(1), 5_000)
    await publishUntilHeard(connected, heard)
  })

  it('may refuse the password, which is logged without it', async () => {
    await using redis = await startRedis({ settings: ['--requirepass', 'right-secret'] })
    await using wrong = connectRedisBus({ url: `redis://:wrong-secret@127.0.0.1:${redis.port}` })
    await using right = connectRedisBus({ url: `redis://:right-secret@127.0.0.1:${redis.port}` })
    await listen(right.bus, 'alice')
    expect(await wrong.bus.listen('alice', () => {}).attached).toBe(false)
    expect(wrong.bus.status().reason).toContain('WRONGPASS')
    expect(wrong.logged.join()).not.toContain('wrong-secret')
  })
})

it('refuses an address that it can not be', () => {
  const bus = (url: string) => () =>
    createRedisBus({ url, channels: 1, logger: captureLog().logger, parse: () => undefined })
  expect(bus('redis://127.0.0.1:1,redis://127.0.0.1:2')).toThrow('several Redis addresses')
  expect(bus('http://127.0.0.1')).toThrow('redis://')
})

/** Until the bus has connected both ways, what is published may be lost: that is its contract. */
async function publishUntilHeard({ bus }: ConnectedBus, heard: string[]): Promise<void> {
  await vi.waitFor(
    async () => {
      await bus.publish([{ userId: 'alice', message: note('again') }])
      expect(heard).toContain('again')
    },
    { timeout: 5_000, interval: 100 },
  )
}

function adminOf(redis: OwnRedis): Redis {
  const admin = new Redis(redis.url)
  onTestFinished(() => admin.disconnect())
  return admin
}

function count(logged: string[], text: string): number {
  return logged.filter((line) => line.includes(text)).length
}
