// The directory over the public API, and what concurrent calls make of it.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createDirectory } from '../../src/users/directory.ts'
import { deletedUsersMax, upsertedUsersMax } from '../../src/users/validate.ts'
import { type Fleet, request, startFleet, tokenFor } from '../support/server.ts'

let fleet: Fleet
let token: string
beforeAll(async () => {
  fleet = await startFleet()
  token = await tokenFor('service', ['users:read', 'users:write', 'broadcasts:write'])
})
beforeEach(async () => {
  await fleet.test.database.query('no-users', 'delete from users', [])
})
afterAll(() => fleet[Symbol.asyncDispose]())

const upsertMutation = 'mutation ($users: [UserInput!]!) { upsertUsers(users: $users) }'
const fields = 'id name locale timeZone attributes createdAt updatedAt'

async function call<Data>(query: string, variables: Record<string, unknown> = {}, as = token) {
  const { data, errors } = await request<Data>(fleet.url, as, query, variables)
  return { data, code: errors?.[0]?.extensions.code, message: errors?.[0]?.message }
}
const upsert = (...users: Record<string, unknown>[]) => call<{ upsertUsers: number }>(upsertMutation, { users })
const find = async (id: string) =>
  (await call<{ user: Record<string, unknown> | null }>(`query ($id: ID!) { user(id: $id) { ${fields} } }`, { id }))
    .data?.user

describe('upsertUsers', () => {
  test('creates, and what is left out stays, null clears, attributes are replaced whole', async () => {
    const alice = {
      id: 'alice',
      name: 'Alice',
      locale: 'pt-br',
      timeZone: 'Europe/Lisbon',
      attributes: { a: { b: 1 }, c: [1] },
    }
    expect((await upsert(alice, { id: 'bob' })).data).toEqual({ upsertUsers: 2 })
    const created = await find('alice')
    expect(created).toMatchObject({ ...alice, locale: 'pt-BR' })
    expect(created?.createdAt).toBe(created?.updatedAt)
    expect(await find('bob')).toMatchObject({ name: null, locale: null, timeZone: null, attributes: {} })

    const older =
      "update users set created_at = created_at - interval '1 hour', updated_at = updated_at - interval '1 hour'"
    await fleet.test.database.query('older', older, [])
    await upsert({ id: 'alice', name: null, attributes: { d: null } })
    const changed = await find('alice')
    expect(changed).toMatchObject({ name: null, locale: 'pt-BR', timeZone: 'Europe/Lisbon', attributes: { d: null } })
    expect(changed?.attributes).toEqual({ d: null })
    const hour = 3_600_000
    expect(Date.parse(String(changed?.createdAt))).toBe(Date.parse(String(created?.createdAt)) - hour)
    expect(Date.parse(String(changed?.updatedAt))).toBeGreaterThan(Date.parse(String(created?.updatedAt)) - hour)
    await upsert({ id: 'alice', attributes: null })
    expect((await find('alice'))?.attributes).toEqual({})
  })

  test('lays the later of two with one id over the earlier, and counts them once', async () => {
    const { data } = await upsert({ id: 'a', name: 'first', locale: 'en' }, { id: 'a', name: 'second' })
    expect(data).toEqual({ upsertUsers: 1 })
    expect(await find('a')).toMatchObject({ name: 'second', locale: 'en' })
  })

  test.each<[string, Record<string, unknown>]>([
    ['an empty id', { id: '' }],
    ['a long id', { id: 'x'.repeat(201) }],
    ['an id with NUL', { id: 'a\0' }],
    ['a long name', { id: 'a', name: 'x'.repeat(201) }],
    ['no language', { id: 'a', locale: 'no language' }],
    ['no time zone', { id: 'a', timeZone: 'Mars/Olympus' }],
    ['an offset', { id: 'a', timeZone: '+01:00' }],
    ['large attributes', { id: 'a', attributes: { a: 'x'.repeat(16 * 1024) } }],
    ['attributes with NUL', { id: 'a', attributes: { a: '\0' } }],
    ['attributes that are a list', { id: 'a', attributes: [] }],
  ])('%s is BAD_USER_INPUT, and nobody is created', async (_, user) => {
    expect((await upsert({ id: 'beside' }, user)).code).toBe('BAD_USER_INPUT')
    expect(await find('beside')).toBeNull()
  })

  test('takes 1,000, and none of more', async () => {
    const users = Array.from({ length: upsertedUsersMax + 1 }, (_, index) => ({ id: `user ${index}` }))
    expect((await upsert(...users)).code).toBe('BAD_USER_INPUT')
    expect((await upsert(...users.slice(1))).data).toEqual({ upsertUsers: upsertedUsersMax })
  })

  test('calls that create, change and delete the same users at once all succeed', async () => {
    const directory = createDirectory(fleet.test.database)
    const ids = Array.from({ length: 50 }, (_, index) => `user ${index}`)
    const calls = Array.from({ length: 30 }, (_, round) => {
      const users = [...ids]
        .sort(() => Math.random() - 0.5)
        .map((id) => ({ id, [round % 2 ? 'name' : 'locale']: 'en' }))
      return round % 5 === 4 ? directory.delete(ids) : directory.upsert(users)
    })
    const results = await Promise.all(calls)
    for (const [round, result] of results.entries()) if (round % 5 !== 4) expect(result).toBe(ids.length)
    await directory.upsert(ids.map((id) => ({ id, attributes: { last: true } })))
    expect((await directory.preview({ attribute: { path: 'last', op: 'EQ', values: [true] } })).total).toBe(ids.length)
  })
})

test('deleteUsers says how many there were', async () => {
  await upsert({ id: 'a' }, { id: 'b' })
  const remove = (ids: string[]) => call('mutation ($ids: [ID!]!) { deleteUsers(ids: $ids) }', { ids })
  expect((await remove(['a', 'a', 'nobody', '\0'])).data).toEqual({ deleteUsers: 1 })
  expect((await remove([])).data).toEqual({ deleteUsers: 0 })
  expect((await remove(Array(deletedUsersMax + 1).fill('a'))).code).toBe('BAD_USER_INPUT')
  expect(await find('a')).toBeNull()
  expect(await find('b')).not.toBeNull()
})

describe('users', () => {
  const page = (variables: Record<string, unknown>) =>
    call<{ users: { nodes: { id: string }[]; pageInfo: Record<string, unknown> } }>(
      `query ($segment: SegmentInput, $first: Int, $after: String) { users(segment: $segment, first: $first, after: $after) {
        nodes { id } edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }`,
      variables,
    )

  test('are paged by key, with and without a segment', async () => {
    const ids = Array.from({ length: 45 }, (_, index) => `user ${String(index).padStart(2, '0')}`)
    await upsert(...ids.map((id, index) => ({ id, attributes: { even: index % 2 === 0 } })))
    for (const [segment, expected] of [
      [undefined, ids],
      [{ attribute: { path: 'even', op: 'EQ', values: [true] } }, ids.filter((_, index) => index % 2 === 0)],
    ] as const) {
      const seen: string[] = []
      let after: unknown = null
      for (let more: unknown = true; more; ) {
        const { data } = await page({ segment, first: 10, after })
        seen.push(...(data?.users.nodes.map(({ id }) => id) ?? []))
        more = data?.users.pageInfo.hasNextPage
        after = data?.users.pageInfo.endCursor
      }
      expect(seen).toEqual(expected)
    }
  })

  test.each([{ first: 0 }, { first: 101 }, { first: -1 }])('%j is BAD_USER_INPUT', async (variables) => {
    expect((await page(variables)).code).toBe('BAD_USER_INPUT')
  })

  test.each(['nonsense', '', Buffer.from('xa').toString('base64url'), Buffer.from('u\0').toString('base64url')])(
    'the cursor %j is CURSOR_INVALID',
    async (after) => {
      expect((await page({ after })).code).toBe('CURSOR_INVALID')
    },
  )
})

test('a preview counts, and shows ten', async () => {
  await upsert(...Array.from({ length: 30 }, (_, index) => ({ id: `user ${index}`, attributes: { n: index } })))
  const preview = (values: number[]) =>
    call('query ($segment: SegmentInput!) { previewSegment(segment: $segment) { total sample { id } } }', {
      segment: { attribute: { path: 'n', op: 'LT', values } },
    })
  expect((await preview([25])).data).toMatchObject({ previewSegment: { total: 25, sample: Array(10).fill({}) } })
  expect((await preview([2])).data).toEqual({
    previewSegment: { total: 2, sample: [{ id: 'user 0' }, { id: 'user 1' }] },
  })
})

test('a segment has exactly one field, over the API as in the schema', async () => {
  const users = 'query ($segment: SegmentInput) { users(segment: $segment) { nodes { id } } }'
  for (const segment of [{}, { everyone: true, userIds: ['a'] }, { everyone: null }]) {
    expect((await call(users, { segment })).code).toBe('BAD_USER_INPUT')
  }
})

test.each([
  ['upsertUsers', 'mutation { upsertUsers(users: []) }', 'users:write'],
  ['deleteUsers', 'mutation { deleteUsers(ids: []) }', 'users:write'],
  ['user', '{ user(id: "alice") { id } }', 'users:read'],
  ['users', '{ users { nodes { id } } }', 'users:read'],
  ['previewSegment', '{ previewSegment(segment: { everyone: true }) { total } }', 'broadcasts:write'],
])('%s needs its scope', async (_, query, scope) => {
  const others = ['notifications:send', 'inbox:any', 'users:read', 'users:write', 'broadcasts:write', 'admin']
  const without = await tokenFor(
    'service',
    others.filter((other) => other !== scope),
  )
  expect((await call(query, {}, without)).code).toBe('FORBIDDEN')
  expect((await call(query, {}, await tokenFor('alice', [scope]))).code).toBeUndefined()
})
