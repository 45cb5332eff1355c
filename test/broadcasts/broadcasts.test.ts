// Broadcasts over the public API: who gets what, what the statistics say, and what is refused.
import { createClient } from 'graphql-ws'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import WebSocket from 'ws'
import {
  type Answer,
  type ApiBroadcast,
  broadcastFields,
  broadcastToken,
  call,
  createUsers,
  finished,
  logs,
  read,
  start,
  started,
  userName,
} from '../support/broadcasts.ts'
import { miscounted } from '../support/log.ts'
import { type Fleet, startFleet, tokenFor } from '../support/server.ts'
import { Subscriber } from '../support/subscriber.ts'

let fleet: Fleet
let token: string
beforeAll(async () => {
  fleet = await startFleet({
    instances: 2,
    env: { CARILLON_BROADCAST_BATCH: '300', CARILLON_USER_RATE_PER_MINUTE: '0' },
  })
  token = await broadcastToken()
})
beforeEach(async () => {
  const { database } = fleet.test
  for (const table of ['broadcast_ranges', 'broadcasts', 'users', 'templates', 'notifications', 'inboxes']) {
    await database.query(`no-${table}`, `delete from ${table}`, [])
  }
})
afterAll(() => fleet[Symbol.asyncDispose]())

const ask = <Data>(query: string, variables: Record<string, unknown> = {}, as = token) =>
  call<Data>(fleet.url, as, query, variables)

async function history(userId: string) {
  const query = '{ history { nodes { title body url category priority data seq } } }'
  const { data } = await ask<{ history: { nodes: Record<string, unknown>[] } }>(query, {}, await tokenFor(userId))
  return data?.history.nodes ?? []
}

describe('sending', () => {
  test('everybody of the segment gets it once, and nobody else', async () => {
    await createUsers(fleet.test.database, 1_000)
    const content = { title: 'Sale', body: '<b>{{ 50 }} % & more</b>', url: '/sale' }
    const segment = { attribute: { path: 'n', op: 'LTE', values: [700] } }
    const queued = await started(fleet.url, token, {
      segment,
      content,
      category: 'shop.sale',
      priority: 'HIGH',
      data: { b: 1, a: [null] },
    })
    expect(queued).toMatchObject({ category: 'shop.sale', priority: 'HIGH', total: 700, sent: 0, error: null })
    const done = await finished(fleet.url, token, queued.id)
    expect(done).toMatchObject({ status: 'COMPLETED', total: 700, sent: 700, failed: 0, skipped: 0, progress: 1 })
    const instants = [done.createdAt, done.startedAt, done.finishedAt].map((instant) => Date.parse(instant ?? ''))
    expect(instants).toEqual([...instants].sort((a, b) => a - b))
    expect(await logs(fleet.test.database, 'shop.sale')).toEqual({ users: 700, rows: 700, most: 1, gaps: 0 })
    const [first] = await history(userName(700))
    expect(first).toEqual({ ...content, category: 'shop.sale', priority: 'HIGH', data: { b: 1, a: [null] }, seq: 1 })
    expect(JSON.stringify(first?.data)).toBe('{"b":1,"a":[null]}')
    expect(await history(userName(701))).toEqual([])
    expect(await miscounted(fleet.test.database)).toEqual([])
  })

  test('a template in the language of each, the default for who has none, and who can not be rendered for fails', async () => {
    await createUsers(fleet.test.database, 400, ['pt-BR', 'de', null, 'fr'])
    await ask('mutation ($input: TemplateInput!) { upsertTemplate(input: $input) { key } }', {
      input: {
        key: 'welcome',
        translations: [
          { locale: 'en', title: 'Hi {{ userName }}', body: '{{ variables.what }}', url: '/u/{{ user.id }}' },
          { locale: 'pt', title: 'Oi {{ user.name }}' },
          { locale: 'de', title: 'Hallo {{ variables.unknown }}' },
        ],
      },
    })
    const template = { key: 'welcome', variables: { what: 'more' } }
    const { id } = await started(fleet.url, token, { template })
    const done = await finished(fleet.url, token, id)
    expect(done).toMatchObject({ status: 'COMPLETED', total: 400, sent: 300, failed: 100, skipped: 0 })
    expect(done.error).toContain('variables.unknown')
    expect(await history(userName(4))).toMatchObject([{ title: 'Oi User 4', body: null, url: null }])
    expect(await history(userName(1))).toEqual([])
    const english = (number: number) => [{ title: `Hi User ${number}`, body: 'more', url: `/u/${userName(number)}` }]
    expect(await history(userName(2))).toMatchObject(english(2))
    expect(await history(userName(3))).toMatchObject(english(3))
  })

  test('the template as it was when the broadcast was made', async () => {
    await createUsers(fleet.test.database, 1)
    const save = (title: string) =>
      ask('mutation ($input: TemplateInput!) { upsertTemplate(input: $input) { key } }', {
        input: { key: 'x', translations: [{ locale: 'en', title }] },
      })
    await save('before')
    await using held = await holdInbox(userName(1))
    const { id } = await started(fleet.url, token, { template: { key: 'x' } })
    await save('after')
    await ask('mutation { deleteTemplate(key: "x") }')
    await held.release()
    await finished(fleet.url, token, id)
    expect(await history(userName(1))).toMatchObject([{ title: 'before' }])
  })

  test('to nobody: complete, with zeros', async () => {
    await createUsers(fleet.test.database, 3)
    const segment = { attribute: { path: 'n', op: 'EQ', values: [99] } }
    const { id } = await started(fleet.url, token, { segment })
    const done = await finished(fleet.url, token, id)
    expect(done).toMatchObject({
      status: 'COMPLETED',
      total: 0,
      sent: 0,
      failed: 0,
      skipped: 0,
      progress: 1,
      error: null,
    })
  })

  test('who is connected gets it at once, in order with all else', async () => {
    await createUsers(fleet.test.database, 50)
    const query = 'subscription { notifications { seq title } }'
    const subscribers: Subscriber<{ notifications: { seq: number; title: string } }>[] = []
    for (const number of [1, 25, 50]) {
      const url = fleet.servers[number % 2]?.url ?? ''
      subscribers.push(new Subscriber(url, { token: await tokenFor(userName(number)), query }))
    }
    const send = 'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { duplicate } }'
    for (const number of [1, 25, 50]) await ask(send, { input: { userId: userName(number), title: 'direct' } })
    const { id } = await started(fleet.url, token)
    await finished(fleet.url, token, id)
    for (const number of [1, 25, 50]) await ask(send, { input: { userId: userName(number), title: 'after' } })
    const expected = ['direct', 'Hello', 'after'].map((title, index) => ({ notifications: { seq: index + 1, title } }))
    await vi.waitFor(() => {
      for (const { received } of subscribers) expect(received).toEqual(expected)
    })
    for (const subscriber of subscribers) subscriber.drop()
  })

  test('who is deleted in the middle is left out, and counts nowhere', async () => {
    await createUsers(fleet.test.database, 600)
    // The first statement waits; the rest of its batch has been chosen.
    await using held = await holdInbox(userName(1))
    const { id } = await started(fleet.url, token)
    await vi.waitFor(async () => expect((await read(fleet.url, token, id)).status).toBe('RUNNING'), 4_000)
    await ask('mutation ($ids: [ID!]!) { deleteUsers(ids: $ids) }', { ids: [userName(299), userName(599)] })
    await held.release()
    const done = await finished(fleet.url, token, id)
    expect(done).toMatchObject({ status: 'COMPLETED', total: 598, sent: 598, failed: 0, skipped: 0 })
    expect([...(await history(userName(299))), ...(await history(userName(599)))]).toEqual([])
  })
})

describe('what is refused', () => {
  const content = { title: 'Hello' }
  test.each<[string, Record<string, unknown>]>([
    ['content and template', { content, template: { key: 'x' } }],
    ['neither', { content: null }],
    ['an unknown template', { template: { key: 'unknown' } }],
    ['an empty title', { content: { title: '' } }],
    ['a long title', { content: { title: 'x'.repeat(201) } }],
    ['a script for a url', { content: { title: 'x', url: 'javascript:alert(1)' } }],
    ['a category', { category: 'No Category' }],
    ['an empty segment', { segment: { userIds: [] } }],
    ['not everyone', { segment: { everyone: false } }],
    ['no segment', { segment: {} }],
    ['large data', { data: { x: 'x'.repeat(17_000) } }],
    ['large variables', { template: { key: 'x', variables: { x: 'x'.repeat(17_000) } } }],
    ['a time that has passed', { expiresAt: '2020-01-01T00:00:00Z' }],
    ['a long idempotency key', { idempotencyKey: 'x'.repeat(256) }],
  ])('%s is BAD_USER_INPUT, and nothing is queued', async (_, input) => {
    expect((await start(fleet.url, token, input)).code).toBe('BAD_USER_INPUT')
    const { data } = await ask<{ broadcasts: { nodes: unknown[] } }>('{ broadcasts { nodes { id } } }')
    expect(data?.broadcasts.nodes).toEqual([])
  })

  test('whoever lacks the scope', async () => {
    const { id } = await started(fleet.url, token)
    const reader = await tokenFor('reader', ['broadcasts:read'])
    const writer = await tokenFor('writer', ['broadcasts:write'])
    expect((await start(fleet.url, reader, {})).code).toBe('FORBIDDEN')
    expect((await ask('mutation ($id: ID!) { cancelBroadcast(id: $id) { id } }', { id }, reader)).code).toBe(
      'FORBIDDEN',
    )
    expect((await ask('query ($id: ID!) { broadcast(id: $id) { id } }', { id }, writer)).code).toBe('FORBIDDEN')
    expect((await ask('{ broadcasts { nodes { id } } }', {}, writer)).code).toBe('FORBIDDEN')
    const node = 'query ($id: ID!) { node(id: $id) { id __typename } }'
    expect((await ask(node, { id }, writer)).data).toEqual({ node: null })
    expect((await ask(node, { id }, reader)).data).toEqual({ node: { id, __typename: 'Broadcast' } })
  })
})

test('a segment nested deeper than anybody needs is BAD_USER_INPUT', async () => {
  for (const depth of [9, 1_000, 3_000]) {
    let segment: object = { everyone: true }
    for (let level = 0; level < depth; level++) segment = { not: segment }
    expect((await start(fleet.url, token, { segment, idempotencyKey: 'deep' })).code).toBe('BAD_USER_INPUT')
  }
})

describe('idempotency', () => {
  test('the same key returns the first broadcast, and with another input it is a conflict', async () => {
    await createUsers(fleet.test.database, 10)
    const input = { idempotencyKey: 'k', content: { title: 'Hello', body: null }, data: { a: 1, b: 2 } }
    const calls = await Promise.all(Array.from({ length: 10 }, () => started(fleet.url, token, input)))
    expect(new Set(calls.map(({ id }) => id)).size).toBe(1)
    await finished(fleet.url, token, calls[0]?.id ?? '')
    const again = await started(fleet.url, token, { ...input, content: { title: 'Hello' }, data: { b: 2, a: 1 } })
    expect(again).toMatchObject({ id: calls[0]?.id, status: 'COMPLETED' })
    expect((await start(fleet.url, token, { ...input, data: { a: 2, b: 2 } })).code).toBe('IDEMPOTENCY_CONFLICT')
    expect((await start(fleet.url, token, { ...input, content: { title: 'x' } })).code).toBe('IDEMPOTENCY_CONFLICT')
    expect(await logs(fleet.test.database)).toMatchObject({ rows: 10, most: 1 })
  })

  test('keys are apart by sender and by operation', async () => {
    const other = await tokenFor('other', ['broadcasts:write', 'notifications:send'])
    const mine = await started(fleet.url, token, { idempotencyKey: 'k2' })
    expect((await started(fleet.url, other, { idempotencyKey: 'k2' })).id).not.toBe(mine.id)
    const send = 'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { duplicate } }'
    const input = { userId: 'alice', title: 'x', idempotencyKey: 'k2' }
    expect((await ask(send, { input })).data).toEqual({ sendNotification: { duplicate: false } })
  })
})

describe('reading', () => {
  test('pages, newest first', async () => {
    const ids: string[] = []
    for (let i = 0; i < 5; i++) ids.unshift((await started(fleet.url, token)).id)
    const query =
      'query ($after: String) { broadcasts(first: 2, after: $after) { nodes { id } pageInfo { hasNextPage endCursor } } }'
    const seen: string[] = []
    let after: string | null = null
    do {
      const { data }: Answer<Page> = await ask<Page>(query, { after })
      seen.push(...(data?.broadcasts.nodes.map(({ id }) => id) ?? []))
      after = data?.broadcasts.pageInfo.hasNextPage ? data.broadcasts.pageInfo.endCursor : null
    } while (after !== null)
    expect(seen).toEqual(ids)
    expect((await ask('{ broadcasts(after: "nonsense") { nodes { id } } }')).code).toBe('CURSOR_INVALID')
    expect((await ask('{ broadcasts(first: 101) { nodes { id } } }')).code).toBe('BAD_USER_INPUT')
  })

  test('of one that there is not: null, and NOT_FOUND', async () => {
    for (const id of ['01890000-0000-7000-8000-000000000000', 'nonsense', '']) {
      expect((await ask('query ($id: ID!) { broadcast(id: $id) { id } }', { id })).data).toEqual({ broadcast: null })
      expect((await ask('mutation ($id: ID!) { cancelBroadcast(id: $id) { id } }', { id })).code).toBe('NOT_FOUND')
      expect(await progress(id).catch(String)).toContain('NOT_FOUND')
    }
  })

  test('progress: at once, at each change, adding up all the while, and it ends by itself', async () => {
    await createUsers(fleet.test.database, 3_000)
    await using held = await holdInbox(userName(3_000))
    const { id } = await started(fleet.url, token)
    await vi.waitFor(async () => expect((await read(fleet.url, token, id)).sent).toBeGreaterThan(0), 4_000)
    const states = progress(id, fleet.servers[1]?.url)
    await vi.waitFor(async () => expect((await read(fleet.url, token, id)).sent).toBeGreaterThan(900), 4_000)
    await held.release()
    const all = await states
    expect(all.length).toBeGreaterThan(1)
    expect(all[0]?.status).toBe('RUNNING')
    expect(all.at(-1)).toMatchObject({ status: 'COMPLETED', total: 3_000, sent: 3_000, progress: 1 })
    for (const [index, { total, sent, failed, skipped, progress }] of all.entries()) {
      expect(total).toBe(3_000)
      expect(sent + failed + skipped).toBeLessThanOrEqual(total)
      expect(progress).toBeCloseTo(sent / 3_000)
      if (index < all.length - 1) expect(progress).toBeLessThan(1)
      expect(sent).toBeGreaterThanOrEqual(all[index - 1]?.sent ?? 0)
    }
    // Of one that has finished: how it ended, and the end.
    expect(await progress(id)).toEqual([all.at(-1)])
  })
})

describe('cancelling', () => {
  test('stops at once; what was sent stays, and the numbers say what it was', async () => {
    await createUsers(fleet.test.database, 3_000)
    await using held = await holdInbox(userName(2_990))
    const { id } = await started(fleet.url, token)
    await vi.waitFor(async () => expect((await read(fleet.url, token, id)).sent).toBeGreaterThan(300), 4_000)
    const cancel = `mutation ($id: ID!) { cancelBroadcast(id: $id) { ${broadcastFields} } }`
    const { data } = await ask<{ cancelBroadcast: ApiBroadcast }>(cancel, { id })
    const cancelled = data?.cancelBroadcast
    const { rows } = await logs(fleet.test.database)
    expect(cancelled).toMatchObject({ status: 'CANCELLED', sent: rows, total: rows, error: null })
    expect(cancelled?.progress).toBeLessThan(1)
    await held.release()
    const { id: next } = await started(fleet.url, token, { category: 'next' })
    await finished(fleet.url, token, next)
    expect(await logs(fleet.test.database)).toMatchObject({ rows })
    expect(await read(fleet.url, token, id)).toEqual(cancelled)
    // One that has ended stays as it is.
    expect((await ask<{ cancelBroadcast: ApiBroadcast }>(cancel, { id })).data?.cancelBroadcast).toEqual(cancelled)
    const done = await ask<{ cancelBroadcast: ApiBroadcast }>(cancel, { id: next })
    expect(done.data?.cancelBroadcast.status).toBe('COMPLETED')
  })
})

test('one that expires before it is through fails, and says so', async () => {
  await createUsers(fleet.test.database, 600)
  await using held = await holdInbox(userName(1))
  const { id } = await started(fleet.url, token, { expiresAt: new Date(Date.now() + 60_000).toISOString() })
  await fleet.test.database.query('expire', 'update broadcasts set expires_at = now()', [])
  await held.release()
  const done = await finished(fleet.url, token, id)
  expect(done).toMatchObject({ status: 'FAILED', error: 'it expired before it had reached everybody' })
  expect(done.total).toBe(done.sent)
})

interface Page {
  broadcasts: { nodes: { id: string }[]; pageInfo: { hasNextPage: boolean; endCursor: string | null } }
}

/** All that a subscription to the progress yields until it ends. */
async function progress(id: string, url = fleet.url): Promise<ApiBroadcast[]> {
  const client = createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: token },
    retryAttempts: 0,
  })
  const states: ApiBroadcast[] = []
  const query = `subscription ($id: ID!) { broadcastProgress(id: $id) { ${broadcastFields} } }`
  await new Promise<void>((resolve, reject) => {
    client.subscribe<{ broadcastProgress: ApiBroadcast }>(
      { query, variables: { id } },
      {
        next: ({ data }) => void (data && states.push(data.broadcastProgress)),
        error: (error) => reject(new Error(JSON.stringify(error))),
        complete: resolve,
      },
    )
  }).finally(() => client.dispose())
  return states
}

/** Holds a user's inbox as somebody does who is slow, so that a broadcast stays under way. */
async function holdInbox(userId: string) {
  const { database } = fleet.test
  const insert =
    "insert into inboxes (user_id, last_seq, last_created_at) values ($1, 0, '1970-01-01Z') on conflict do nothing"
  await database.query('an-inbox', insert, [userId])
  let release = () => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  let hold = () => {}
  const isHeld = new Promise<void>((resolve) => {
    hold = resolve
  })
  const transaction = database.kysely.transaction().execute(async (holder) => {
    await holder.selectFrom('inboxes').select('user_id').where('user_id', '=', userId).forUpdate().execute()
    hold()
    await released
  })
  await isHeld
  const end = async () => {
    release()
    await transaction
  }
  return { release: end, [Symbol.asyncDispose]: end }
}
