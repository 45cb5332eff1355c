// Socket.IO with its Redis adapter and a room a user, as its documentation wires it.
import { createServer } from 'node:http'
import { createAdapter } from '@socket.io/redis-adapter'
import { Server } from 'socket.io'
import { claimsOf, connectRedis, hasReplay, listen, notificationOf, ready, undeliveredOf } from './common.mjs'
import { serveControl } from './control.mjs'
import { answerSends } from './plain-send.mjs'

const publish = (userId, notification) => void io.to(userId).emit('notification', notification)
const sends = answerSends(publish)
const server = createServer((request, response) => {
  if (request.url === '/graphql') sends(request, response)
})
const io = new Server(server, { adapter: createAdapter(connectRedis(), connectRedis()), transports: ['websocket'] })
io.use((socket, next) => {
  claimsOf(socket.handshake.auth.token).then(({ sub }) => {
    socket.data.userId = sub
    next()
  }, next)
})
io.on('connection', async (socket) => {
  const { userId } = socket.data
  await socket.join(userId)
  if (!hasReplay) return
  for (const notification of await undeliveredOf(userId)) socket.emit('notification', notification)
})
const control = await serveControl(
  (userId, body) => publish(userId, notificationOf({ title: 'bench', body })),
  (body) => void io.emit('notification', notificationOf({ title: 'bench', body })),
)
ready({ port: await listen(server), control })
