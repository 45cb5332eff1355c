// The Redis bus when Redis is away, restarts, cuts it off, refuses or carries what is no message.
// bus-redis-silent.test.ts: when it does not answer.
import { describe, expect, it, vi } from 'vitest'
import { attachTimeoutMs } from '../../src/bus/bus.ts'
import { createRedisBus } from '../../src/bus/bus-redis.ts'
import { probeBoundMs, probeIntervalMs } from '../../src/bus/probe.ts'
import { commandTimeoutMs } from '../../src/redis.ts'
import { startRedis } from '../support/redis.ts'
import { listen, note } from './bus.contract.ts'
import { adminOf, captureLog, connectRedisBus, count, publishFromElsewhere, publishUntilHeard } from './redis-bus.ts'

const slackMs = 1_500

it('brings other processes the brief message, and its own listeners the whole one', async () => {
  await using redis = await startRedis()
  await using near = connectRedisBus({ url: redis.url })
  await using far = connectRedisBus({ url: redis.url, prefix: near.prefix })
  const [mine, theirs] = await Promise.all([listen(near.bus, 'alice'), listen(far.bus, 'alice')])
  const [message, brief] = [note('whole'), note('brief')]
  await near.bus.publish([
    { userId: 'alice', message, brief },
    { userId: 'alice', message },
  ])
  await vi.waitFor(() =>
    expect([mine, theirs]).toEqual([
      [message, message],
      [brief, message],
    ]),
  )
})

describe('a Redis that comes and goes', () => {
  it('starts without Redis, says so, and attaches what listens when Redis comes', async () => {
    await using redis = await startRedis()
    await redis.stop()
    await using connected = connectRedisBus(redis)
    await using elsewhere = connectRedisBus({ url: redis.url, prefix: connected.prefix })
    const { bus, counts } = connected
    const heard: string[] = []
    const startedAt = performance.now()
    expect(await bus.listen('alice', ({ text }) => heard.push(text)).attached).toBe(false)
    expect(performance.now() - startedAt).toBeLessThan(attachTimeoutMs + slackMs)
    expect(bus.status()).toEqual({ healthy: false, reason: expect.stringContaining('ECONNREFUSED') })
    expect(counts.resumes).toBe(0)

    await redis.restart()
    await vi.waitFor(() => expect(counts.resumes).toBe(1), 5_000)
    await publishUntilHeard(elsewhere.bus, heard)
    await vi.waitFor(() => expect(bus.status()).toEqual({ healthy: true }), 5_000)
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
    await using elsewhere = connectRedisBus({ url: redis.url, channels: 16, prefix: connected.prefix })
    await vi.waitFor(() => expect(elsewhere.bus.status().healthy).toBe(true), 5_000)
    await elsewhere.bus.publish(users.map((userId) => ({ userId, message: note('back') })))
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
      await publishFromElsewhere(redis, connected, [{ userId: 'alice', message: note('back', round) }])
      await vi.waitFor(() => expect(heard).toHaveLength(round))
    }
  })

  it('publishes again as soon as it is connected, however often Redis cuts off what publishes', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus(redis)
    await using elsewhere = connectRedisBus({ url: redis.url, prefix: connected.prefix })
    const heard: string[] = []
    expect(await elsewhere.bus.listen('alice', ({ text }) => heard.push(text)).attached).toBe(true)
    const admin = adminOf(redis)
    for (let round = 1; round <= 5; round++) {
      await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
      heard.length = 0
      await publishUntilHeard(connected.bus, heard)
    }
    expect(elsewhere.counts.resumes).toBe(0)
  })

  it('goes on where a message is more than Redis keeps for a subscriber, which it cuts off', async () => {
    await using redis = await startRedis({ settings: ['--client-output-buffer-limit', 'pubsub 100kb 0 0'] })
    await using connected = connectRedisBus(redis)
    const heard = await listen(connected.bus, 'alice')
    await publishFromElsewhere(redis, connected, [{ userId: 'alice', message: note('x'.repeat(1_000_000)) }])
    await vi.waitFor(() => expect(connected.counts.resumes).toBe(1), 5_000)
    await publishFromElsewhere(redis, connected, [{ userId: 'alice', message: note('small') }])
    await vi.waitFor(() => expect(heard).toEqual([note('small')]))
  })

  it('goes on over a Redis that became a replica, and takes no writes', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus(redis)
    const heard = await listen(connected.bus, 'alice')
    const admin = adminOf(redis)
    await admin.replicaof('127.0.0.1', '1')
    await expect(admin.set('a', 'b')).rejects.toThrow('READONLY')
    await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
    await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    await vi.waitFor(() => expect(connected.counts.resumes).toBe(1), 5_000)
    await vi.waitFor(() => expect(connected.bus.status()).toEqual({ healthy: true }), 5_000)
    await publishFromElsewhere(redis, connected, [{ userId: 'alice', message: note('hello') }])
    await vi.waitFor(() => expect(heard).toEqual([note('hello')]))
  })

  it('waits while Redis reads its data from disk, answers meanwhile, and heals then', async () => {
    // Reading takes three seconds: 300 keys, 10 ms each.
    const settings = ['--key-load-delay', '10000', '--loading-process-events-interval-bytes', '1024']
    await using redis = await startRedis({ settings })
    await using connected = connectRedisBus(redis)
    const heard: string[] = []
    expect(await connected.bus.listen('alice', ({ text }) => heard.push(text)).attached).toBe(true)
    const admin = adminOf(redis)
    await admin.mset(Object.fromEntries(Array.from({ length: 300 }, (_, key) => [key, 'x'.repeat(1_024)])))
    await admin.save()
    admin.disconnect()
    const restarted = redis.restart()
    const watcher = adminOf(redis, { enableReadyCheck: false })
    await vi.waitFor(async () => expect(await watcher.info('persistence')).toContain('loading:1'), 10_000)
    const startedAt = performance.now()
    await connected.bus.publish([{ userId: 'alice', message: note('lost') }])
    expect(performance.now() - startedAt).toBeLessThan(commandTimeoutMs / 2)
    expect(connected.bus.status().healthy).toBe(false)
    await restarted
    await vi.waitFor(() => expect(connected.counts.resumes).toBe(1), 3_000)
    await using elsewhere = connectRedisBus({ url: redis.url, prefix: connected.prefix })
    await publishUntilHeard(elsewhere.bus, heard)
  })

  it('is not needed for what is published where it is listened for, and brings none of it a second time', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus(redis)
    await using elsewhere = connectRedisBus({ url: redis.url, prefix: connected.prefix })
    const heard = await listen(connected.bus, 'alice')
    const heardElsewhere = await listen(elsewhere.bus, 'alice')
    await vi.waitFor(() => expect(connected.bus.status().healthy).toBe(true))
    redis.pause()
    const published = connected.bus.publish([{ userId: 'alice', message: note('one') }])
    expect(heard).toEqual([])
    await vi.waitFor(() => expect(heard).toEqual([note('one')]), commandTimeoutMs / 2)
    redis.resume()
    await published
    await elsewhere.bus.publish([{ userId: 'alice', message: note('two') }])
    await vi.waitFor(() => expect(heard.at(-1)).toEqual(note('two')), 5_000)
    // It hears its own at once, be another's still on its way.
    await vi.waitFor(() => expect(heardElsewhere).toHaveLength(2))
    expect(heardElsewhere).toContainEqual(note('one'))
    expect(heard).toEqual([note('one'), note('two')])
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
    await using elsewhere = connectRedisBus({ url: redis.url, channels: 32, prefix: connected.prefix })
    await vi.waitFor(() => expect(elsewhere.bus.status().healthy).toBe(true))
    await elsewhere.bus.publish([{ userId: 'stays', message: note('still here') }])
    await vi.waitFor(() => expect(heard).toEqual([note('still here')]))
    await Promise.all([connected.bus.close(), elsewhere.bus.close()])
    await vi.waitFor(async () => expect(await channelsInRedis()).toEqual([]))
  })

  it('is one message a channel for a batch', async () => {
    await using redis = await startRedis()
    await using connected = connectRedisBus({ url: redis.url, channels: 4 })
    const watcher = adminOf(redis, { enableReadyCheck: false })
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
      '["somebody","alice",100]\n{}',
      '["somebody","alice",-5]\n{}',
      '["somebody","alice"]\n{}',
      '["alice",2]\n{}',
      '["somebody","alice",4]\nnull',
      '["somebody","alice",2]\n{{',
      '["somebody","alice",2]\n{}',
      Buffer.from([0xff, 0xfe, 0x0a, 0x00]),
    ]
    for (const payload of garbage) await admin.publish(channel, payload)
    // A bad message among good ones takes none of them along.
    await admin.publish(channel, '["somebody","alice",2,"alice",24]\n{}{"text":"ok","number":1}')
    await publishFromElsewhere(redis, connected, [{ userId: 'alice', message: note('good') }])
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
    await publishFromElsewhere(redis, stranger, [{ userId: 'alice', message: note('for strangers') }])
    await publishFromElsewhere(redis, connected, [{ userId: 'alice', message: note('for us') }])
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
    await using elsewhere = connectRedisBus({ url: redis.url, prefix: connected.prefix })
    await publishUntilHeard(elsewhere.bus, heard)
  })

  it('may refuse to publish: unhealthy with the reason, and what others publish still arrives', async () => {
    await using redis = await startRedis()
    const admin = adminOf(redis)
    await admin.acl('SETUSER', 'carillon', 'on', '>password', '+@all', '-publish', '~*', 'allchannels')
    await using connected = connectRedisBus({ url: `redis://carillon:password@127.0.0.1:${redis.port}` })
    await using elsewhere = connectRedisBus({ url: redis.url, prefix: connected.prefix })
    const heard = await listen(connected.bus, 'alice')
    await vi.waitFor(() => expect(connected.bus.status().reason).toContain('NOPERM'), probeIntervalMs)
    await connected.bus.publish([{ userId: 'alice', message: note('refused') }])
    expect(connected.counts.publishErrors).toBe(1)
    // Long enough for the probe to have taken it for silence.
    await vi.waitFor(() => expect(elsewhere.lags.length).toBeGreaterThan((2 * probeBoundMs) / 1_000), 15_000)
    await elsewhere.bus.publish([{ userId: 'alice', message: note('heard') }])
    await vi.waitFor(() => expect(heard).toEqual([note('refused'), note('heard')]))
    expect(connected.counts.resumes).toBe(0)
    expect(count(connected.logged, 'connecting anew')).toBe(0)
    await admin.acl('SETUSER', 'carillon', '+publish')
    await vi.waitFor(() => expect(connected.bus.status()).toEqual({ healthy: true }), probeBoundMs)
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
