// The schema of the GraphQL peers, and the mutation as their documentation would write it: one INSERT, one publish.
import { hasReplay, historyOf, insert, notificationOf, undeliveredOf } from './common.mjs'

export const typeDefs = /* GraphQL */ `
  type Notification { id: ID! title: String! body: String! createdAt: String! }
  type SendNotificationPayload { notification: Notification! }
  input SendNotificationInput { userId: ID! title: String! body: String! }
  type PageInfo { hasNextPage: Boolean! hasPreviousPage: Boolean! startCursor: String endCursor: String }
  type NotificationConnection { nodes: [Notification!]! pageInfo: PageInfo! }
  type Query { history(first: Int! = 20, after: String): NotificationConnection! }
  type Mutation { sendNotification(input: SendNotificationInput!): SendNotificationPayload! }
  type Subscription { notifications: Notification! }
`

/** `publish(userId, notification)` and `subscribe(userId, context)`, an iterator of `{ notifications }`. */
export function resolversOf({ publish, subscribe }) {
  return {
    Query: { history: (_, { first, after }, { claims }) => history(claims.sub, first, after) },
    Mutation: {
      async sendNotification(_, { input }, { claims }) {
        if (
          !String(claims.scope ?? '')
            .split(' ')
            .includes('notifications:send')
        )
          throw new Error('may not send')
        const notification = notificationOf(input)
        await insert(input.userId, notification)
        await publish(input.userId, notification)
        return { notification }
      },
    },
    Subscription: {
      notifications: {
        subscribe: (_, __, context) => {
          const live = subscribe(context.claims.sub, context)
          return hasReplay ? withReplay(context.claims.sub, live) : live
        },
      },
    },
  }
}

/** What was not delivered, then live. What is published between the two is lost, for which nothing is charged here. */
async function* withReplay(userId, live) {
  for (const notification of await undeliveredOf(userId)) yield { notifications: notification }
  yield* await live
}

async function history(userId, first, after) {
  const place = after == null ? null : JSON.parse(Buffer.from(after, 'base64url').toString())
  const rows = await historyOf(userId, first + 1, place)
  const nodes = rows.slice(0, first)
  const cursorOf = (node) => node && Buffer.from(JSON.stringify([node.createdAt, node.id])).toString('base64url')
  const hasNextPage = rows.length > first
  return {
    nodes,
    pageInfo: {
      hasNextPage,
      hasPreviousPage: place !== null,
      startCursor: cursorOf(nodes[0]),
      endCursor: cursorOf(nodes.at(-1)),
    },
  }
}
