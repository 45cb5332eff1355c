// The slice's resolvers: who may, then the verb. One notification's way through the server starts here: send.ts,
// group-commit.ts, append.ts, bus/bus.ts, subscribe.ts, subscription.ts, acknowledge.ts.
import { inboxOwner, requireScope, requireViewer, type Viewer } from '../auth.ts'
import type { Context } from '../graphql/context.ts'
import type { MutationMarkSeenArgs, Resolvers } from '../graphql/generated.ts'
import type { FindNode } from '../graphql/node.ts'
import type { JsonObject } from '../json.ts'
import type { Database } from '../postgres.ts'
import { checkUserId, isUserId } from '../text.ts'
import { type Acknowledge, toSelection } from './acknowledge.ts'
import { createAutoAck } from './auto-ack.ts'
import { type Cursors, headCursor, notificationCursor } from './cursor.ts'
import type { InboxEvent } from './events.ts'
import type { History } from './history.ts'
import { readInbox } from './inbox.ts'
import type { Mark } from './marks.ts'
import type { Retract } from './retract.ts'
import type { Send } from './send.ts'
import type { Subscribe } from './subscribe.ts'

export interface NotificationVerbs extends Send {
  database: Database
  cursors: Cursors
  history: History
  acknowledge: Acknowledge
  retract: Retract
  subscribe: Subscribe
}

const inboxIdPrefix = 'inbox:'

export function createNotificationResolvers(verbs: NotificationVerbs): Resolvers {
  const { database, cursors, history, acknowledge } = verbs

  const mark =
    (verb: Mark) =>
    async (_: unknown, args: Partial<MutationMarkSeenArgs>, { viewer }: Context) => {
      const userId = requireViewer(viewer).sub
      return acknowledge(userId, verb, toSelection(cursors, userId, args))
    }

  return {
    Query: {
      history: (_, { userId, ...page }, { viewer }) => history.page(ownerOf(viewer, userId), page),
      inbox: (_, { userId }, { viewer }) => readInbox(database, ownerOf(viewer, userId)),
    },
    Mutation: {
      sendNotification: (_, { input }, { viewer }) => verbs.send(requireScope(viewer, 'notifications:send').sub, input),
      sendNotifications: (_, { inputs }, { viewer }) =>
        verbs.sendMany(requireScope(viewer, 'notifications:send').sub, inputs),
      retractNotification(_, { id }, { viewer }) {
        requireScope(viewer, 'notifications:send')
        return verbs.retract(id)
      },
      markDelivered: mark('delivered'),
      markSeen: mark('seen'),
      markRead: mark('read'),
      markUnread: mark('unread'),
      archiveNotifications: mark('archived'),
      unarchiveNotifications: mark('unarchived'),
    },
    Subscription: {
      notifications: {
        subscribe(_, { after, autoAck }, { viewer, resumeAfter, logger }) {
          const { sub } = requireViewer(viewer)
          const onConfirmed = autoAck ? createAutoAck(acknowledge, sub, logger) : undefined
          return verbs.subscribe(sub, { kind: 'notifications', after: after ?? null, resumeAfter, onConfirmed })
        },
        resolve: (event: InboxEvent) => ('notification' in event ? event.notification : never(event)),
      },
      inboxEvents: {
        subscribe(_, { after }, { viewer, resumeAfter }) {
          const { sub } = requireViewer(viewer)
          return verbs.subscribe(sub, { kind: 'inboxEvents', after: after ?? null, resumeAfter })
        },
        resolve: (event: InboxEvent) => event,
      },
    },
    InboxEvent: { __resolveType: (event) => event.__typename },
    Notification: {
      // Parsed for those who select it, and no earlier.
      data: ({ data }): JsonObject | null => (data === null ? null : JSON.parse(data)),
      cursor: (notification) => notificationCursor(cursors, notification),
    },
    Inbox: {
      id: ({ userId }) => inboxIdPrefix + userId,
      undeliveredCount: ({ undelivered }) => undelivered,
      unseenCount: ({ unseen }) => unseen,
      unreadCount: ({ unread }) => unread,
      headCursor: (inbox) => headCursor(cursors, inbox),
    },
  }
}

/** A notification by its id, an inbox by `inbox:` and the user's. */
export function createFindNode({ database, history }: Pick<NotificationVerbs, 'database' | 'history'>): FindNode {
  return async (id, { sub, scopes }) => {
    const isAnybody = scopes.has('inbox:any')
    if (!id.startsWith(inboxIdPrefix)) {
      const notification = await history.find(isAnybody ? null : sub, id)
      return notification && { ...notification, __typename: 'Notification' as const }
    }
    const userId = id.slice(inboxIdPrefix.length)
    if (userId !== sub && !(isAnybody && isUserId(userId))) return null
    return { ...(await readInbox(database, userId)), __typename: 'Inbox' as const }
  }
}

/** Whose inbox is meant. Fails as `inboxOwner` does, and then with BAD_USER_INPUT where nobody can have such an id. */
function ownerOf(viewer: Viewer | null, userId: string | null | undefined): string {
  const owner = inboxOwner(viewer, userId)
  checkUserId('userId', owner)
  return owner
}

function never(event: InboxEvent): never {
  throw new Error(`a stream of notifications yielded ${event.__typename}`)
}
