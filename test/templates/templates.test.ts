// Templates over the public API.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { templatesMax, translationsBytesMax } from '../../src/templates/templates.ts'
import {
  bodySourceCharactersMax,
  keyCharactersMax,
  titleSourceCharactersMax,
  translationsMax,
  urlSourceCharactersMax,
} from '../../src/templates/validate.ts'
import { type Fleet, request, startFleet, tokenFor } from '../support/server.ts'

let fleet: Fleet
let token: string
beforeAll(async () => {
  fleet = await startFleet()
  token = await tokenFor('service', ['templates:write'])
})
beforeEach(async () => {
  await fleet.test.database.query('no-templates', 'delete from templates', [])
})
afterAll(() => fleet[Symbol.asyncDispose]())

const fields = 'id key defaultLocale translations { locale title body url } updatedAt'

async function call<Data = Record<string, unknown>>(
  query: string,
  variables: Record<string, unknown> = {},
  as = token,
) {
  const { data, errors } = await request<Data>(fleet.url, as, query, variables)
  return { data, code: errors?.[0]?.extensions.code, message: errors?.[0]?.message }
}
const upsert = (input: Record<string, unknown>) =>
  call<{ upsertTemplate: Record<string, unknown> }>(
    `mutation ($input: TemplateInput!) { upsertTemplate(input: $input) { ${fields} } }`,
    { input },
  )
const find = async (key: string) =>
  (
    await call<{ template: Record<string, unknown> | null }>(
      `query ($key: String!) { template(key: $key) { ${fields} } }`,
      { key },
    )
  ).data?.template

const english = { locale: 'en', title: 'Hello {{ userName }}', body: null, url: null }

describe('upsertTemplate', () => {
  test('creates, and replaces the whole of it', async () => {
    const translations = [
      { locale: 'pt-BR', title: 'Olá {{ userName }}', body: '<b>{{ variables.a }}</b>', url: '/{{ user.id }}' },
      english,
    ]
    const { data } = await upsert({ key: 'welcome', translations: [{ ...translations[0], locale: 'pt-br' }, english] })
    const created = { id: 'template:welcome', key: 'welcome', defaultLocale: 'en', translations }
    expect(data?.upsertTemplate).toMatchObject(created)
    expect(await find('welcome')).toEqual(data?.upsertTemplate)

    const older = "update templates set updated_at = updated_at - interval '1 hour'"
    await fleet.test.database.query('older', older, [])
    await upsert({ key: 'welcome', defaultLocale: 'DE', translations: [{ locale: 'de', title: 'Hallo' }] })
    const replaced = await find('welcome')
    expect(replaced).toMatchObject({
      defaultLocale: 'de',
      translations: [{ locale: 'de', title: 'Hallo', body: null, url: null }],
    })
    const hour = 3_600_000
    expect(Date.parse(String(replaced?.updatedAt))).toBeGreaterThan(
      Date.parse(String(data?.upsertTemplate.updatedAt)) - hour,
    )
  })

  test.each([
    ['{% foo %}', 'tag "foo" not found, line 1, column 1'],
    ['Hello,\nuser {{ userName', 'output "{{ userName" not closed, line 2, column 6'],
    ['{% if user.name %}', 'tag {% if user.name %} not closed, line 1, column 1'],
    ['{{ user.name | shout }}', 'undefined filter: shout, line 1, column 1'],
    ['{% include "/etc/passwd" %}', 'tag "include" not found, line 1, column 1'],
  ])('refuses %j, and says where', async (body, problem) => {
    const translations = [english, { locale: 'pt-br', title: 'a', body }]
    const { code, message } = await upsert({ key: 'bad', translations })
    expect({ code, message }).toEqual({ code: 'BAD_USER_INPUT', message: `translations pt-BR, body: ${problem}` })
    expect(await find('bad')).toBeNull()
  })

  test.each<[string, Record<string, unknown>]>([
    ['an empty key', { key: '' }],
    ['a long key', { key: 'x'.repeat(keyCharactersMax + 1) }],
    ['a key with other characters', { key: "a'; drop table templates; --" }],
    ['a key in capitals', { key: 'Welcome' }],
    ['no translation', { translations: [] }],
    ['no language', { translations: [{ ...english, locale: 'no language' }] }],
    ['SQL for a language', { translations: [{ ...english, locale: "en'--" }] }],
    ['__proto__ for a language', { translations: [english, { ...english, locale: '__proto__' }] }],
    ['one language twice', { translations: [{ ...english, locale: 'EN' }, english] }],
    ['a default that is none of the translations', { defaultLocale: 'de' }],
    ['a default that is no language', { defaultLocale: '{{ user }}' }],
    ['an empty title', { translations: [{ ...english, title: '' }] }],
    ['a long title', { translations: [{ ...english, title: 'x'.repeat(titleSourceCharactersMax + 1) }] }],
    ['a long body', { translations: [{ ...english, body: 'x'.repeat(bodySourceCharactersMax + 1) }] }],
    ['a long url', { translations: [{ ...english, url: 'x'.repeat(urlSourceCharactersMax + 1) }] }],
    ['NUL', { translations: [{ ...english, body: '\0' }] }],
    ['half a character', { translations: [{ ...english, body: '\ud800' }] }],
  ])('%s is BAD_USER_INPUT, and nothing is saved', async (_, input) => {
    expect((await upsert({ key: 'one', translations: [english], ...input })).code).toBe('BAD_USER_INPUT')
    expect((await call<{ templates: unknown[] }>('{ templates { key } }')).data?.templates).toEqual([])
  })

  test('takes what is just within the limits', async () => {
    const translation = {
      locale: 'en',
      title: '😀'.repeat(titleSourceCharactersMax),
      body: '😀'.repeat(bodySourceCharactersMax),
      url: '/'.repeat(urlSourceCharactersMax),
    }
    const key = 'x'.repeat(keyCharactersMax)
    expect((await upsert({ key, translations: [translation] })).data?.upsertTemplate).toMatchObject({
      translations: [translation],
    })
    const many = Array.from({ length: translationsMax + 1 }, (_, index) => ({ ...english, locale: `en-x-${index}` }))
    const saved = await upsert({ key, defaultLocale: 'en-x-1', translations: many.slice(1) })
    expect(saved.data?.upsertTemplate.translations).toHaveLength(translationsMax)
    expect((await upsert({ key, defaultLocale: 'en-x-1', translations: many })).code).toBe('BAD_USER_INPUT')
  })

  test('takes so many templates and no more, and replaces them then too', async () => {
    await fleet.test.database.query(
      'many-templates',
      `insert into templates (key, default_locale, translations) select 'template-' || n, 'en', '[]' from generate_series(1, $1::int) n`,
      [templatesMax],
    )
    expect((await upsert({ key: 'one-more', translations: [english] })).code).toBe('BAD_USER_INPUT')
    expect((await upsert({ key: 'template-7', translations: [english] })).code).toBeUndefined()
    await call('mutation { deleteTemplate(key: "template-8") }')
    expect((await upsert({ key: 'one-more', translations: [english] })).code).toBeUndefined()
  })

  test('takes so many bytes of all templates and no more', async () => {
    const filler = JSON.stringify('x'.repeat(translationsBytesMax - 102))
    await fleet.test.database.query(
      'large-template',
      `insert into templates (key, default_locale, translations) values ('large', 'en', $1::json)`,
      [filler],
    )
    expect((await upsert({ key: 'one-more', translations: [{ ...english, body: 'x'.repeat(100) }] })).code).toBe(
      'BAD_USER_INPUT',
    )
    expect((await upsert({ key: 'one-more', translations: [english] })).code).toBeUndefined()
    expect((await upsert({ key: 'large', translations: [english] })).code).toBeUndefined()
  })
})

test('deleteTemplate says whether there was one', async () => {
  await upsert({ key: 'welcome', translations: [english] })
  const remove = (key: string) => call('mutation ($key: String!) { deleteTemplate(key: $key) }', { key })
  expect((await remove('welcome')).data).toEqual({ deleteTemplate: true })
  expect((await remove('welcome')).data).toEqual({ deleteTemplate: false })
  expect((await remove('\0')).data).toEqual({ deleteTemplate: false })
  expect(await find('welcome')).toBeNull()
})

test('templates are listed in order of their keys', async () => {
  for (const key of ['b', 'a', 'c_1', 'c.1']) await upsert({ key, translations: [english] })
  expect((await call('{ templates { key } }')).data).toEqual({
    templates: ['a', 'b', 'c.1', 'c_1'].map((key) => ({ key })),
  })
})

test('template finds none for what is no key', async () => {
  for (const key of ['nobody', '', '\0', "' or true --"]) expect(await find(key)).toBeNull()
})

test('node finds a template by its id, for who may read it', async () => {
  await upsert({ key: 'welcome', translations: [english] })
  const node = async (id: string, as = token) =>
    (await call('query ($id: ID!) { node(id: $id) { __typename id ... on Template { key } } }', { id }, as)).data
  const found = { node: { __typename: 'Template', id: 'template:welcome', key: 'welcome' } }
  expect(await node('template:welcome')).toEqual(found)
  expect(await node('template:another')).toEqual({ node: null })
  expect(await node('template:\0')).toEqual({ node: null })
  expect(await node('template:welcome', await tokenFor('alice', ['users:write', 'inbox:any']))).toEqual({ node: null })
})

test.each([
  ['template', '{ template(key: "a") { key } }'],
  ['templates', '{ templates { key } }'],
  [
    'upsertTemplate',
    'mutation { upsertTemplate(input: { key: "a", translations: [{ locale: "en", title: "a" }] }) { key } }',
  ],
  ['deleteTemplate', 'mutation { deleteTemplate(key: "a") }'],
])('%s needs its scope', async (_, query) => {
  const others = ['notifications:send', 'inbox:any', 'users:read', 'users:write', 'broadcasts:write', 'admin']
  expect((await call(query, {}, await tokenFor('service', others))).code).toBe('FORBIDDEN')
  expect((await call(query, {}, await tokenFor('alice', ['templates:write']))).code).toBeUndefined()
})
