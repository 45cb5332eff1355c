// The floor: `ws` and a map of the sockets of each user in this process. No Redis, so one instance only.
import { createServer } from 'node:http'
import { WebSocketServer } from 'ws'
import { claimsOf, hasReplay, listen, notificationOf, ready, undeliveredOf } from './common.mjs'
import { serveControl } from './control.mjs'
import { answerSends } from './plain-send.mjs'

const socketsOf = new Map()
const server = createServer(answerSends(publish))
const sockets = new WebSocketServer({ noServer: true })

server.on('upgrade', async (request, socket, head) => {
  try {
    const { sub } = await claimsOf(request.headers.authorization)
    sockets.handleUpgrade(request, socket, head, (accepted) => connected(accepted, sub))
  } catch {
    socket.end('HTTP/1.1 401 Unauthorized\r\n\r\n')
  }
})

function connected(socket, userId) {
  const own = socketsOf.get(userId) ?? new Set()
  socketsOf.set(userId, own.add(socket))
  socket.on('close', () => {
    own.delete(socket)
    if (own.size === 0) socketsOf.delete(userId)
  })
  socket.on('error', () => socket.terminate())
  socket.send('ready')
  if (hasReplay) void replay(socket, userId)
}

async function replay(socket, userId) {
  for (const notification of await undeliveredOf(userId)) socket.send(JSON.stringify(notification))
}

function publish(userId, notification) {
  const text = JSON.stringify(notification)
  for (const socket of socketsOf.get(userId) ?? []) socket.send(text)
}

function broadcast(notification) {
  const text = JSON.stringify(notification)
  for (const own of socketsOf.values()) for (const socket of own) socket.send(text)
}

const control = await serveControl(
  (userId, body) => publish(userId, notificationOf({ title: 'bench', body })),
  (body) => broadcast(notificationOf({ title: 'bench', body })),
)
ready({ port: await listen(server), control })
