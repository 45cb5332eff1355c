// graphql-yoga, graphql-ws and graphql-redis-subscriptions, as their documentation wires them.
import { createServer } from 'node:http'
import { RedisPubSub } from 'graphql-redis-subscriptions'
import { useServer } from 'graphql-ws/use/ws'
import { createSchema, createYoga } from 'graphql-yoga'
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

const yoga = createYoga({
  schema: createSchema({ typeDefs, resolvers }),
  logging: false,
  context: async ({ request, claims }) => ({
    claims: claims ?? (await claimsOf(request.headers.get('authorization'))),
  }),
})
const server = createServer(yoga)
useServer(
  {
    execute: (args) => args.rootValue.execute(args),
    subscribe: (args) => args.rootValue.subscribe(args),
    onConnect: async ({ connectionParams, extra }) => {
      extra.claims = await claimsOf(connectionParams.authorization)
    },
    onSubscribe: async (ctx, _id, params) => {
      const { schema, execute, subscribe, contextFactory, parse, validate } = yoga.getEnveloped({
        ...ctx,
        req: ctx.extra.request,
        socket: ctx.extra.socket,
        claims: ctx.extra.claims,
        params,
      })
      const args = {
        schema,
        operationName: params.operationName,
        document: parse(params.query),
        variableValues: params.variables,
        contextValue: await contextFactory(),
        rootValue: { execute, subscribe },
      }
      const errors = validate(args.schema, args.document)
      return errors.length ? errors : args
    },
  },
  new WebSocketServer({ server, path: yoga.graphqlEndpoint }),
)
const control = await serveControl(
  (userId, body) => publish(userId, notificationOf({ title: 'bench', body })),
  (body) => pubsub.publish(topicOfAll, { notifications: notificationOf({ title: 'bench', body }) }),
)
ready({ port: await listen(server), control })
