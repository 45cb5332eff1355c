// What an attacker writes into whatever a broadcast takes is text and nothing else: it finds nobody, is refused with a
// code, or arrives as it was written. Nothing of it is ever SQL, Liquid or a path into a prototype.
import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { broadcastToken, call, createUsers, finished, start, started, userName } from '../support/broadcasts.ts'
import { type Fleet, startFleet, tokenFor } from '../support/server.ts'

const attacks = [
  "' or '1'='1",
  "' or 1=1 --",
  "'; drop table users; --",
  "'); delete from users; --",
  "u000001' union select user_id from inboxes --",
  "\\'; select pg_sleep(5); --",
  '" or ""="',
  '$1; drop table users',
  "'||(select cursor_key from carillon_state)||'",
  "{}' or true or '",
  '$.n ? (@ > 0)',
  '__proto__',
  'constructor.prototype',
  '#{process.env.HOME}',
  '{{ user | json }}',
  '{% raw %}',
  "%' escape '%",
  '\u0027 or 1=1',
  '"}]},{"everyone":true,"x":[{"y":"',
  '＇ or 1=1 --',
]

let fleet: Fleet
let token: string
const ask = <Data>(query: string, variables: Record<string, unknown>, as = token) =>
  call<Data>(fleet.url, as, query, variables)
beforeAll(async () => {
  fleet = await startFleet({ env: { CARILLON_USER_RATE_PER_MINUTE: '0' } })
  token = await broadcastToken()
  await createUsers(fleet.test.database, 20, ['en', null])
})
afterAll(() => fleet[Symbol.asyncDispose]())

const preview = 'query ($segment: SegmentInput!) { previewSegment(segment: $segment) { total } }'
const untouched = async () => {
  const { rows } = await sql<{ count: number }>`select count(*)::int as count from users`.execute(
    fleet.test.database.kysely,
  )
  return rows[0]?.count === 20
}

test.each(attacks)('in a segment: %s', async (attack) => {
  const segments = [
    { userIds: [attack] },
    { locales: [attack] },
    { attribute: { path: attack, op: 'EXISTS' } },
    { attribute: { path: `n.${attack}`, op: 'EXISTS' } },
    ...['EQ', 'GT', 'LTE', 'CONTAINS', 'IN'].map((op) => ({ attribute: { path: 'n', op, values: [attack] } })),
    { attribute: { path: attack, op: 'EQ', values: [attack] } },
  ]
  for (const segment of segments) {
    const { data, code } = await ask<{ previewSegment: { total: number } }>(preview, { segment })
    expect([data?.previewSegment.total ?? null, code], JSON.stringify(segment)).toEqual(
      code === undefined ? [0, undefined] : [null, 'BAD_USER_INPUT'],
    )
  }
  // What can't be compared with is no match, and nobody that matches is everybody.
  const others = { not: { attribute: { path: 'n', op: 'EQ', values: [attack] } } }
  expect((await ask(preview, { segment: others })).data).toEqual({ previewSegment: { total: 20 } })
  expect(await untouched()).toBe(true)
})

test.each(attacks)('in what is sent: %s', async (attack) => {
  const segment = { userIds: [userName(1)] }
  const texts = {
    segment,
    content: { title: attack, body: attack },
    data: { [attack]: attack },
    idempotencyKey: attack,
  }
  const { id } = await started(fleet.url, token, texts)
  await finished(fleet.url, token, id)
  // A category and a key may look like that, and are nothing but names.
  const isName = /^[a-z0-9._-]+$/.test(attack)
  for (const input of [
    ...(isName ? [] : [{ category: attack }]),
    { content: { title: 'x', url: attack } },
    { template: { key: attack } },
  ]) {
    expect((await start(fleet.url, token, { segment, ...input })).code).toBe('BAD_USER_INPUT')
  }
  const save = 'mutation ($input: TemplateInput!) { upsertTemplate(input: $input) { key } }'
  for (const input of [
    ...(isName ? [] : [{ key: attack, translations: [{ locale: 'en', title: 'x' }] }]),
    { key: 'x', defaultLocale: attack, translations: [{ locale: attack, title: 'x' }] },
  ]) {
    expect((await ask(save, { input })).code).toBe('BAD_USER_INPUT')
  }
  // As a variable it is printed, never rendered.
  await ask(save, { input: { key: 'echo', translations: [{ locale: 'en', title: 'X {{ variables.text }}' }] } })
  const template = { key: 'echo', variables: { text: attack } }
  await finished(fleet.url, token, (await started(fleet.url, token, { segment, template })).id)
  const query = '{ history(first: 2) { nodes { title body data } } }'
  const { data } = await ask<{ history: { nodes: unknown[] } }>(query, {}, await tokenFor(userName(1)))
  expect(data?.history.nodes).toEqual([
    { title: `X ${attack}`, body: null, data: null },
    { title: attack, body: attack, data: Object.fromEntries([[attack, attack]]) },
  ])
  expect((await ask('query ($id: ID!) { broadcast(id: $id) { id } }', { id: attack })).data).toEqual({
    broadcast: null,
  })
  const page = 'query ($after: String) { broadcasts(after: $after) { nodes { id } } }'
  expect((await ask(page, { after: attack })).code).toBe('CURSOR_INVALID')
  expect(await untouched()).toBe(true)
})
