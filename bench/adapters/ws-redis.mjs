// `ws` and a Redis channel a user: what one writes by hand without GraphQL.
import { createServer } from 'node:http'
import { WebSocketServer } from 'ws'
import {
  claimsOf,
  connectRedis,
  hasBroadcasts,
  hasReplay,
  listen,
  notificationOf,
  ready,
  undeliveredOf,
} from './common.mjs'
import { serveControl } from './control.mjs'
import { answerSends } from './plain-send.mjs'

const publisher = connectRedis()
const subscriber = connectRedis()
const socketsOf = new Map()
const channelOfAll = 'users'
const publish = (userId, notification) => publisher.publish(`user:${userId}`, JSON.stringify(notification))
const server = createServer(answerSends(publish))
const sockets = new WebSocketServer({ noServer: true })

if (hasBroadcasts) await subscriber.subscribe(channelOfAll)
subscriber.on('message', (channel, text) => {
  if (channel === channelOfAll) return broadcast(text)
  for (const socket of socketsOf.get(channel) ?? []) socket.send(text)
})
server.on('upgrade', async (request, socket, head) => {
  try {
    const { sub } = await claimsOf(request.headers.authorization)
    sockets.handleUpgrade(request, socket, head, (accepted) => void connected(accepted, sub))
  } catch {
    socket.end('HTTP/1.1 401 Unauthorized\r\n\r\n')
  }
})

function broadcast(text) {
  for (const own of socketsOf.values()) for (const socket of own) socket.send(text)
}

async function connected(socket, userId) {
  const channel = `user:${userId}`
  const own = socketsOf.get(channel) ?? new Set()
  socketsOf.set(channel, own.add(socket))
  socket.on('close', () => {
    own.delete(socket)
    if (own.size > 0) return
    socketsOf.delete(channel)
    void subscriber.unsubscribe(channel)
  })
  socket.on('error', () => socket.terminate())
  if (own.size === 1) await subscriber.subscribe(channel)
  socket.send('ready')
  if (!hasReplay) return
  for (const notification of await undeliveredOf(userId)) socket.send(JSON.stringify(notification))
}

const control = await serveControl(
  (userId, body) => publish(userId, notificationOf({ title: 'bench', body })),
  (body) => publisher.publish(channelOfAll, JSON.stringify(notificationOf({ title: 'bench', body }))),
)
ready({ port: await listen(server), control })
