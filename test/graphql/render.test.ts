// A rendered event is what executing the operation makes of it, to the letter.
import { execute, OperationTypeNode, parse } from 'graphql'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import type { Context } from '../../src/graphql/context.ts'
import type { Operation } from '../../src/graphql/operation.ts'
import { createFindRender } from '../../src/graphql/render.ts'
import { createSchema } from '../../src/graphql/schema.ts'
import { createCursors } from '../../src/notifications/cursor.ts'
import type { InboxEvent } from '../../src/notifications/events.ts'
import { createNotificationResolvers, type NotificationVerbs } from '../../src/notifications/resolvers.ts'
import { inbox, notification } from '../support/test-source.ts'

const verbs = { cursors: createCursors(Buffer.alloc(32, 1)) } as NotificationVerbs
const schema = createSchema(createNotificationResolvers(verbs))
const viewer = { sub: 'alice', scopes: new Set<never>(), expiresAt: Number.POSITIVE_INFINITY }
const contextValue: Context = {
  viewer,
  requestId: 'r',
  logger: pino({ level: 'silent' }),
  transport: 'websocket',
  resumeAfter: null,
}

function operationOf(query: string, variableValues: Record<string, unknown> = {}, operationName?: string): Operation {
  const document = parse(query)
  return {
    schema,
    document,
    contextValue,
    variableValues,
    operationName: operationName ?? null,
    type: OperationTypeNode.SUBSCRIPTION,
  }
}

const place = { inbox: { ...inbox, seq: 3, createdAt: 1_800_000_000_000 }, cursor: 'c' }
const plain = notification(3)
const rich = notification(4, {
  title: '"quotes" \\ \u2028 🔔 \ud800 <b>',
  body: 'a\nb\0',
  data: '{"b":[1,null,{"a":"ü"}],"a":1e21}',
  url: '/x',
  priority: 'CRITICAL',
  expiresAt: 1_900_000_000_000,
  readAt: 1_800_000_000_001,
})
const received: InboxEvent[] = [plain, rich].map((one) => ({
  __typename: 'NotificationReceived',
  notification: one,
  replayed: true,
  ...place,
}))
const events: InboxEvent[] = [
  ...received,
  { __typename: 'NotificationsUpdated', notifications: [plain, rich], ...place },
  { __typename: 'NotificationsUpdated', notifications: [], ...place },
  { __typename: 'NotificationsRemoved', ids: ['a', '"'], ...place },
  { __typename: 'CaughtUp', stateChanged: false, ...place },
]

const all = `id seq category title body data url priority expiresAt createdAt deliveredAt seenAt readAt archivedAt cursor`
const inInbox = `id userId undeliveredCount unseenCount unreadCount headCursor`

const ofNotifications: [string, string, Record<string, unknown>?, string?][] = [
  ['all fields', `subscription { notifications { ${all} } }`],
  ['__typename and aliases', 'subscription { n: notifications { t: __typename a: id b: id title } }'],
  ['an argument that is a variable', 'subscription ($c: String) { notifications(after: $c) { id } }', { c: 'x' }],
  [
    'fragments, twice and nested',
    `subscription { notifications { ...A ... on Notification { seq ...A } ... { title } id } }
     fragment A on Notification { id ...B } fragment B on Node { id }`,
  ],
  [
    '@skip and @include',
    `subscription ($yes: Boolean!, $no: Boolean = false) { notifications {
      id @skip(if: $no) title @include(if: $no) body @skip(if: $yes) ... @include(if: $yes) { seq } ...F @skip(if: true) } }
     fragment F on Notification { url }`,
    { yes: true },
  ],
  [
    'one of two operations',
    `subscription A { notifications { id } } subscription B { notifications { seq } }`,
    {},
    'B',
  ],
]
const ofEvents: [string, string, Record<string, unknown>?][] = [
  [
    'all of them',
    `subscription { inboxEvents { __typename cursor inbox { ${inInbox} }
      ... on NotificationReceived { notification { ${all} } }
      ... on NotificationsUpdated { notifications { ${all} } }
      ... on NotificationsRemoved { ids }
      ... on CaughtUp { stateChanged } } }`,
  ],
  ['one kind alone', 'subscription { inboxEvents { ... on NotificationReceived { notification { id } } } }'],
  [
    'objects that are selected in parts',
    'subscription { inboxEvents { inbox { id } ...I ... on CaughtUp { inbox { unreadCount } } } } fragment I on InboxEvent { inbox { userId } }',
  ],
]

describe('is what executing makes of it', () => {
  test.each(ofNotifications)('%s', (_, query, variables, name) => {
    check(operationOf(query, variables, name), received)
  })
  test.each(ofEvents)('%s', (_, query, variables) => {
    check(operationOf(query, variables), events)
  })
})

function check(operation: Operation, of: readonly InboxEvent[]): void {
  const render = createFindRender()(operation)
  expect(render).toBeDefined()
  for (const event of of) {
    const executed = execute({ ...operation, rootValue: event })
    expect(executed).not.toHaveProperty('errors')
    expect(render?.(event, contextValue)).toBe(JSON.stringify(executed))
  }
}

test('other variables are another selection, and the same document without such directives is looked up once', () => {
  const find = createFindRender()
  const query = 'subscription ($a: Boolean!) { notifications { id title @include(if: $a) } }'
  const document = parse(query)
  const [event] = received
  const text = (a: boolean) => find({ ...operationOf(query, { a }), document })?.(event, contextValue)
  expect(text(true)).toContain('title')
  expect(text(false)).not.toContain('title')
  const plainOperation = operationOf('subscription { notifications { id } }')
  expect(find(plainOperation)).toBe(find({ ...plainOperation, contextValue: { ...contextValue } }))
})

test('what a resolver fails for is left to execution', () => {
  const render = createFindRender()(operationOf('subscription { notifications { id data } }'))
  const event = { ...received[0], notification: { ...plain, data: '{' } }
  expect(() => render?.(event, contextValue)).toThrow()
})
