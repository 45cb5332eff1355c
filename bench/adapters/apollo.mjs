// Apollo Server over Express, graphql-ws and graphql-redis-subscriptions, as their documentation wires them.
import { createServer } from 'node:http'
import { ApolloServer } from '@apollo/server'
import { ApolloServerPluginDrainHttpServer } from '@apollo/server/plugin/drainHttpServer'
import { expressMiddleware } from '@as-integrations/express5'
import { makeExecutableSchema } from '@graphql-tools/schema'
import express from 'express'
import { RedisPubSub } from 'graphql-redis-subscriptions'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocketServer } from 'ws'
import { claimsOf, connectRedis, hasBroadcasts, listen, notificationOf, ready } from './common.mjs'
import { serveControl } from './control.mjs'
import { resolversOf, typeDefs } from './graphql-schema.mjs'

const pubsub = new RedisPubSub({ publisher: connectRedis(), subscriber: connectRedis() })
const topicOf = (userId) => `notifications:${userId}`
const topicOfAll = 'notifications'
const publish = (userId, notification) => pubsub.publish(topicOf(userId), { notifications: notification })
const topicsOf = (userId) => (hasBroadcasts ? [topicOf(userId), topicOfAll] : topicOf(userId))
const resolvers = resolversOf({ publish, subscribe: (userId) => pubsub.asyncIterableIterator(topicsOf(userId)) })

const schema = makeExecutableSchema({ typeDefs, resolvers })
const app = express()
const server = createServer(app)
useServer(
  {
    schema,
    onConnect: async ({ connectionParams, extra }) => {
      extra.claims = await claimsOf(connectionParams.authorization)
    },
    context: ({ extra }) => ({ claims: extra.claims }),
  },
  new WebSocketServer({ server, path: '/graphql' }),
)
const apollo = new ApolloServer({ schema, plugins: [ApolloServerPluginDrainHttpServer({ httpServer: server })] })
await apollo.start()
app.use(
  '/graphql',
  express.json(),
  expressMiddleware(apollo, { context: async ({ req }) => ({ claims: await claimsOf(req.headers.authorization) }) }),
)
const control = await serveControl(
  (userId, body) => publish(userId, notificationOf({ title: 'bench', body })),
  (body) => pubsub.publish(topicOfAll, { notifications: notificationOf({ title: 'bench', body }) }),
)
ready({ port: await listen(server), control })
