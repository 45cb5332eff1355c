// The bus between processes: Redis publish and subscribe, through graphql-redis-subscriptions over ioredis.
// Users are spread over a settable number of channels; a process is subscribed to those that its users are on, and
// dispatches by user itself. One batch is at most one PUBLISH a channel (envelope.ts). Those that listen in the sender's
// own process get the message at once, whatever Redis does, and its echo is dropped unread. channels.ts keeps the
// subscriptions, probe.ts notices a connection that went silent.
//
// What the library does that is kept away here: it can't say when a SUBSCRIBE is answered, a failed one is an unhandled
// rejection, and what it hands on is shared by all subscribers of a channel. So it routes and publishes, subscribes each
// channel once, and sees a connection whose SUBSCRIBE always succeeds: channels.ts carries it out.
import { randomUUID } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { RedisPubSub } from 'graphql-redis-subscriptions'
import type { Redis } from 'ioredis'
import type { Logger } from '../logger.ts'
import { connectRedis, reasonOf } from '../redis.ts'
import { seldom } from '../seldom.ts'
import type { Addressed, Bus } from './bus.ts'
import { type Channels, createChannels } from './channels.ts'
import { createDispatch } from './dispatch.ts'
import { isFrom, readEnvelope, writeEnvelopes } from './envelope.ts'
import { createProbe, probeTickMs } from './probe.ts'

/**
 * What may wait in memory for a Redis that reads slowly; over it, publishing fails at once and the tail check delivers.
 * Characters, which is how Node counts text that waits for a socket: twice as many bytes at most.
 */
export const publishBacklogCharactersMax = 16 * 1024 * 1024

const refused = Promise.resolve(false)

export interface RedisBusOptions<Message> {
  url: string
  /** Channels that users are spread over, the same in every process: 1 or more. */
  channels: number
  logger: Logger
  /** Checks what came over the network; undefined for what is no message. */
  parse: (json: unknown) => Message | undefined
  /** Called for each PUBLISH that failed. */
  onPublishError?: () => void
  /** Called every few seconds with how long a message takes from this process through Redis and back. */
  onLag?: (seconds: number) => void
  /** Names the channels: deployments that share a Redis need one each, since channels know no database number. */
  prefix?: string
}

/** Returns at once, connected or not. */
export function createRedisBus<Message>(options: RedisBusOptions<Message>): Bus<Message> {
  const { url, channels: channelsCount, logger, parse, prefix = 'carillon' } = options
  const sender = randomUUID()
  const probeChannel = `${prefix}:probe:${sender}`
  const dispatch = createDispatch<Message>(logger)
  /** Channels that the library is subscribed to, and how many listen on each. */
  const rooms = new Map<string, { listeners: number; subscription: Promise<number> }>()
  const publishing = new Set<Promise<void>>()
  const resumeCallbacks: (() => void)[] = []
  let closing: Promise<void> | undefined

  const publisher = connectRedis(url, { name: 'carillon-publisher', logger })
  const subscriber = connectRedis(url, { name: 'carillon-subscriber', logger })
  const channels = createChannels(subscriber, { logger, onResume: resume })
  const pubsub = new RedisPubSub({
    publisher: publisher.client,
    subscriber: withChannels(subscriber.client, channels),
    serializer: (text: string) => text,
    // Of this event the payload is a Buffer, which the library hands on as it is.
    messageEventName: 'messageBuffer',
  })
  const probe = createProbe({
    send: (payload) => (publisher.problem() === undefined ? pubsub.publish(probeChannel, payload) : undefined),
    onLag: (seconds) => options.onLag?.(seconds),
    onSilent() {
      // A connection that is known to be down has been logged as that.
      if ((subscriber.problem() ?? publisher.problem()) === undefined) {
        logger.warn('messages to itself do not come back through Redis: connecting anew')
      }
      publisher.reconnect()
      subscriber.reconnect()
    },
  })
  const logPublishError = seldom((reason, times) => logger.warn({ reason, times }, 'a message could not be published'))
  const logBadPayload = seldom((reason, times) =>
    logger.error({ reason, times }, 'not a message, though on our channel'),
  )

  join(probeChannel, (payload) => probe.hear(payload.toString()))
  const timer = setInterval(() => {
    leaveEmptyRooms()
    probe.tick()
  }, probeTickMs)

  function channelOf(userId: string): string {
    return `${prefix}:${channelsCount === 1 ? 0 : crc32(userId) % channelsCount}`
  }

  function join(channel: string, onPayload: (payload: Buffer) => void): { listeners: number } {
    const room = { listeners: 0, subscription: pubsub.subscribe<Buffer>(channel, onPayload) }
    rooms.set(channel, room)
    return room
  }

  /** Not at once, so that a user who comes and goes costs no command, and the connection has few under way. */
  function leaveEmptyRooms(): void {
    for (const [channel, { listeners, subscription }] of rooms) {
      if (listeners > 0 || channel === probeChannel) continue
      rooms.delete(channel)
      void subscription.then((id) => pubsub.unsubscribe(id))
    }
  }

  function receive(payload: Buffer): void {
    if (isFrom(sender, payload)) return
    try {
      readEnvelope(payload, dispatch.has, take)
    } catch (error) {
      logBadPayload(faultOf(error))
    }
  }

  function take(userId: string, json: string): void {
    try {
      const message = parse(JSON.parse(json))
      if (message === undefined) logBadPayload('not a message')
      else dispatch.deliver(userId, message)
    } catch (error) {
      logBadPayload(faultOf(error))
    }
  }

  async function publishAll(batch: readonly Addressed<Message>[]): Promise<void> {
    try {
      const envelopes = writeEnvelopes(sender, batch, channelOf)
      const sends: Promise<void>[] = []
      const { stream } = publisher.client
      // One write to the socket for all of them.
      if (envelopes.size > 1) stream?.cork()
      for (const [channel, text] of envelopes) sends.push(send(channel, text))
      if (envelopes.size > 1) stream?.uncork()
      await Promise.all(sends)
    } catch (error) {
      fail(error)
    }
  }

  async function send(channel: string, text: string): Promise<void> {
    try {
      if (publisher.client.stream?.writableLength > publishBacklogCharactersMax)
        throw new Error('Redis reads too slowly')
      await pubsub.publish(channel, text)
    } catch (error) {
      fail(error)
    }
  }

  function fail(error: unknown): void {
    options.onPublishError?.()
    logPublishError(reasonOf(error))
  }

  function resume(): void {
    for (const callback of resumeCallbacks) {
      try {
        callback()
      } catch (error) {
        logger.error({ err: error }, 'resuming after the bus reconnected failed')
      }
    }
  }

  async function close(): Promise<void> {
    clearInterval(timer)
    channels.close()
    await Promise.all(publishing)
    dispatch.clear()
    await Promise.all([publisher.close(), subscriber.close()])
  }

  return {
    async publish(batch) {
      if (closing !== undefined || batch.length === 0) return
      const sent = publishAll(batch)
      publishing.add(sent)
      // Listeners run after the publisher's own code, as they do when a message comes over a network.
      await undefined
      for (const { userId, message } of batch) dispatch.deliver(userId, message)
      await sent
      publishing.delete(sent)
    },
    listen(userId, onMessage) {
      if (closing !== undefined) return { attached: refused, close() {} }
      const channel = channelOf(userId)
      const room = rooms.get(channel) ?? join(channel, receive)
      room.listeners += 1
      const remove = dispatch.add(userId, onMessage)
      return {
        attached: channels.attached(channel),
        close() {
          if (remove()) room.listeners -= 1
        },
      }
    },
    onResume: (callback) => void resumeCallbacks.push(callback),
    status() {
      const reason =
        closing !== undefined
          ? 'closed'
          : (subscriber.problem() ?? publisher.problem() ?? channels.problem() ?? probe.problem())
      return reason === undefined ? { healthy: true } : { healthy: false, reason }
    },
    close() {
      closing ??= close()
      return closing
    },
  }
}

/** What JSON.parse says quotes the text, which may be somebody's message. */
function faultOf(error: unknown): string {
  return error instanceof SyntaxError ? 'not JSON' : reasonOf(error)
}

/** The connection as the library sees it. */
function withChannels(client: Redis, channels: Channels): Redis {
  return Object.assign(Object.create(client), {
    on: client.on.bind(client),
    subscribe(channel: string, done: (error: null) => void) {
      channels.join(channel)
      done(null)
    },
    unsubscribe: channels.leave,
    punsubscribe() {},
  })
}
