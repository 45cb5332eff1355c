// As somebody else: what belongs to another user answers exactly as what does not exist, whole responses compared.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { RawSocket } from '../support/raw-socket.ts'
import { type Fleet, request, serviceToken, startFleet, tokenFor } from '../support/server.ts'

/** Ids and cursors of the right form that nobody was ever given. */
const unknownId = '01900000-0000-7000-8000-000000000000'
const unknownCursor = Buffer.alloc(30, 7).toString('base64url')

interface Sent {
  id: string
  cursor: string
}

let fleet: Fleet
let bob: string
/** Alice's two notifications and Bob's one. */
let first: Sent
let second: Sent
let own: Sent

beforeAll(async () => {
  fleet = await startFleet()
  bob = await tokenFor('bob')
  first = await send('alice')
  second = await send('alice')
  own = await send('bob')
})
afterAll(() => fleet[Symbol.asyncDispose]())

async function send(userId: string): Promise<Sent> {
  const document = `mutation ($input: SendNotificationInput!) {
    sendNotification(input: $input) { notification { id cursor } }
  }`
  const response = await request<{ sendNotification: { notification: Sent } }>(
    fleet.url,
    await serviceToken(),
    document,
    { input: { userId, title: `For ${userId}` } },
  )
  if (!response.data) throw new Error(JSON.stringify(response))
  return response.data.sendNotification.notification
}

type Variables = Record<string, unknown>

/** What Bob is answered with the one and with the other, which must not differ in anything. */
async function sameAnswer(document: string, theirs: Variables, madeUp: Variables) {
  const [answer, other] = [
    await request(fleet.url, bob, document, theirs),
    await request(fleet.url, bob, document, madeUp),
  ]
  expect(answer).toEqual(other)
  return answer
}

const codes = (answer: Awaited<ReturnType<typeof request>>) => answer.errors?.map(({ extensions }) => extensions.code)

/** Alice's inbox as she sees it, to tell whether anything in it was touched. */
async function inboxOfAlice() {
  const document = `{
    inbox { undeliveredCount unseenCount unreadCount headCursor }
    history { nodes { id deliveredAt seenAt readAt archivedAt } }
  }`
  return (await request(fleet.url, await tokenFor('alice'), document)).data
}

test("another's notification is no node", async () => {
  const document = 'query ($id: ID!) { node(id: $id) { id __typename } }'
  const answer = await sameAnswer(document, { id: first.id }, { id: unknownId })
  expect(answer).toEqual({ status: 200, data: { node: null } })
  expect(await sameAnswer(document, { id: first.id.toUpperCase() }, { id: 'nonsense' })).toEqual(answer)
  expect(await sameAnswer(document, { id: 'inbox:alice' }, { id: 'inbox:nobody' })).toEqual(answer)
})

describe.each([
  ['history', 'query ($userId: ID) { history(userId: $userId) { nodes { id } } }'],
  ['inbox', 'query ($userId: ID) { inbox(userId: $userId) { id unreadCount headCursor } }'],
])('%s', (_, document) => {
  test('of another user is forbidden, whether there is such a user or not', async () => {
    const answer = await sameAnswer(document, { userId: 'alice' }, { userId: 'nobody' })
    expect(codes(answer)).toEqual(['FORBIDDEN'])
    expect(answer.data ?? null).toBeNull()
  })

  test('of another user is forbidden to who may send to them', async () => {
    const sender = await tokenFor('sender', ['notifications:send'])
    const answer = await request(fleet.url, sender, document, { userId: 'alice' })
    expect(codes(answer)).toEqual(['FORBIDDEN'])
    expect(answer).toEqual(await request(fleet.url, sender, document, { userId: 'nobody' }))
  })
})

test.each(['after', 'before'])("history takes another's cursor as %s for garbage", async (argument) => {
  const document = `query ($cursor: String) { history(${argument}: $cursor) { nodes { id } } }`
  const answer = await sameAnswer(document, { cursor: first.cursor }, { cursor: unknownCursor })
  expect(codes(answer)).toEqual(['CURSOR_INVALID'])
  expect(await sameAnswer(document, { cursor: second.cursor }, { cursor: 'garbage' })).toEqual(answer)
})

const payload = `{ count notifications { id } inbox { userId undeliveredCount unseenCount unreadCount headCursor } }`
/** Each with what has to be done before there is something for it to change. */
const marksByIds = [
  ['markDelivered', null],
  ['markSeen', null],
  ['markRead', null],
  ['markUnread', 'markRead'],
  ['archiveNotifications', null],
  ['unarchiveNotifications', 'archiveNotifications'],
] as const
const marksUpTo = ['markDelivered', 'markSeen', 'markRead', 'archiveNotifications']

test.each(marksByIds)("%s ignores another's ids, and does the caller's own", async (mark, preparation) => {
  const before = await inboxOfAlice()
  const byIds = (verb: string) => `mutation ($ids: [ID!]!) { ${verb}(ids: $ids) ${payload} }`
  const answer = await sameAnswer(byIds(mark), { ids: [first.id, second.id] }, { ids: [unknownId, 'nonsense'] })
  expect(answer.data).toMatchObject({ [mark]: { count: 0, notifications: [], inbox: { userId: 'bob' } } })

  const { id } = await send('bob')
  if (preparation) await request(fleet.url, bob, byIds(preparation), { ids: [id] })
  const mixed = await request(fleet.url, bob, byIds(mark), { ids: [first.id, id] })
  expect(mixed.data).toMatchObject({ [mark]: { count: 1, notifications: [{ id }] } })
  expect(await inboxOfAlice()).toEqual(before)
})

test.each(marksUpTo)("%s takes another's cursor for garbage", async (mark) => {
  const before = await inboxOfAlice()
  const upTo = `mutation ($cursor: String!) { ${mark}(upTo: $cursor) ${payload} }`
  const answer = await sameAnswer(upTo, { cursor: second.cursor }, { cursor: unknownCursor })
  expect(codes(answer)).toEqual(['CURSOR_INVALID'])

  const after = `mutation ($upTo: String!, $cursor: String!) { ${mark}(upTo: $upTo, after: $cursor) ${payload} }`
  const stretch = (cursor: string) => ({ upTo: own.cursor, cursor })
  expect(codes(await sameAnswer(after, stretch(first.cursor), stretch(unknownCursor)))).toEqual(['CURSOR_INVALID'])
  expect(await inboxOfAlice()).toEqual(before)
})

test('retracting without the scope is forbidden, whether there is such a notification or not', async () => {
  const document = 'mutation ($id: ID!) { retractNotification(id: $id) }'
  expect(codes(await sameAnswer(document, { id: first.id }, { id: unknownId }))).toEqual(['FORBIDDEN'])
  // Bob's own was not his to send, so it is not his to take back.
  expect(codes(await sameAnswer(document, { id: own.id }, { id: 'nonsense' }))).toEqual(['FORBIDDEN'])
  const { data } = await request(fleet.url, await tokenFor('alice'), '{ history { nodes { id } } }')
  expect(data).toEqual({ history: { nodes: [{ id: second.id }, { id: first.id }] } })
})

test('sending without the scope is forbidden, whoever it is to', async () => {
  const document = 'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { duplicate } }'
  const inputFor = (userId: string) => ({ input: { userId, title: 'Hello' } })
  expect(codes(await sameAnswer(document, inputFor('alice'), inputFor('nobody')))).toEqual(['FORBIDDEN'])
  expect(codes(await sameAnswer(document, inputFor('bob'), inputFor('nobody')))).toEqual(['FORBIDDEN'])
})

const streams = [
  ['notifications', 'subscription ($after: String) { notifications(after: $after) { id } }'],
  ['inboxEvents', 'subscription ($after: String) { inboxEvents(after: $after) { __typename cursor } }'],
] as const

describe.each(streams)('the stream %s', (_, document) => {
  async function overSocket(after: string | null, params: object): Promise<unknown> {
    await using socket = await new RawSocket(`${fleet.url.replace('http', 'ws')}/graphql`).ready(bob, params)
    socket.subscribe('1', document, { after })
    return await socket.next('error')
  }

  async function overSse(after: string | null, headers: Record<string, string>): Promise<string> {
    const response = await fetch(`${fleet.url}/graphql`, {
      method: 'POST',
      headers: {
        ...headers,
        authorization: `Bearer ${bob}`,
        accept: 'text/event-stream',
        'content-type': 'application/json',
      },
      body: JSON.stringify({ query: document, variables: { after } }),
    })
    return `${response.status} ${await response.text()}`
  }

  test("after another's cursor ends as after garbage, over WebSocket", async () => {
    const refused = await overSocket(first.cursor, {})
    expect(refused).toMatchObject({ payload: [{ extensions: { code: 'CURSOR_INVALID' } }] })
    expect(await overSocket(unknownCursor, {})).toEqual(refused)
    expect(await overSocket('garbage', {})).toEqual(refused)
    expect(await overSocket(null, { after: first.cursor })).toEqual(refused)
    expect(await overSocket(null, { after: unknownCursor })).toEqual(refused)
    expect(await overSocket(own.cursor, { after: second.cursor })).toEqual(refused)
  })

  test("after another's cursor ends as after garbage, over server-sent events", async () => {
    const refused = await overSse(first.cursor, {})
    expect(refused).toContain('"code":"CURSOR_INVALID"')
    expect(refused).toMatch(/^200 .*event: complete\ndata:\n\n$/s)
    expect(await overSse(unknownCursor, {})).toBe(refused)
    expect(await overSse('garbage', {})).toBe(refused)
    expect(await overSse(null, { 'last-event-id': first.cursor })).toBe(refused)
    expect(await overSse(null, { 'last-event-id': unknownCursor })).toBe(refused)
  })
})

test("nothing of another's is on a stream, whatever happens in their inbox", async () => {
  const carol = await tokenFor('carol')
  await using socket = await new RawSocket(`${fleet.url.replace('http', 'ws')}/graphql`).ready(carol)
  const selection = '__typename ... on NotificationReceived { notification { userId } }'
  socket.subscribe('events', `subscription { inboxEvents { ${selection} } }`)
  expect(await socket.next('next')).toMatchObject({ payload: { data: { inboxEvents: { __typename: 'CaughtUp' } } } })

  const { id } = await send('dave')
  const dave = await tokenFor('dave')
  await request(fleet.url, dave, 'mutation ($ids: [ID!]) { markRead(ids: $ids) { count } }', { ids: [id] })
  const service = await serviceToken()
  await request(fleet.url, service, 'mutation ($id: ID!) { retractNotification(id: $id) }', { id })
  await send('carol')
  expect(await socket.next('next')).toMatchObject({
    payload: { data: { inboxEvents: { __typename: 'NotificationReceived', notification: { userId: 'carol' } } } },
  })
})
