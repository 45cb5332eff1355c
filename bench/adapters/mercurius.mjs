// Mercurius over Fastify with compiled queries and its Redis emitter, as its documentation wires it.
import fastify from 'fastify'
import mercurius from 'mercurius'
import createEmitter from 'mqemitter-redis'
import { claimsOf, hasBroadcasts, notificationOf, ready } from './common.mjs'
import { serveControl } from './control.mjs'
import { resolversOf, typeDefs } from './graphql-schema.mjs'

const app = fastify()
const topicOf = (userId) => `notifications/${userId}`
const topicOfAll = 'notifications'
const topicsOf = (userId) => (hasBroadcasts ? [topicOf(userId), topicOfAll] : topicOf(userId))
const { hostname, port } = new URL(process.env.BENCH_REDIS_URL)
const emitter = createEmitter({ host: hostname, port: Number(port) })
const publishTo = (topic, notification) =>
  app.graphql.pubsub.publish({ topic, payload: { notifications: notification } })
const publish = (userId, notification) => publishTo(topicOf(userId), notification)
app.register(mercurius, {
  schema: typeDefs,
  resolvers: resolversOf({ publish, subscribe: (userId, { pubsub }) => pubsub.subscribe(topicsOf(userId)) }),
  jit: 1,
  context: async (request) => ({ claims: await claimsOf(request.headers.authorization) }),
  subscription: {
    emitter,
    // Mutations over the socket too.
    fullWsTransport: process.env.BENCH_CALLS === 'websocket',
    onConnect: async ({ payload }) => ({ claims: await claimsOf(payload.authorization) }),
  },
})
await app.listen({ host: '127.0.0.1', port: 0, backlog: 4096 })
const control = await serveControl(
  (userId, body) => publish(userId, notificationOf({ title: 'bench', body })),
  (body) => publishTo(topicOfAll, notificationOf({ title: 'bench', body })),
)
ready({ port: app.server.address().port, control })
