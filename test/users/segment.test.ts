// Segments against a model of what they mean, over users whose attributes are whatever JSON allows.
import fc from 'fast-check'
import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Json, JsonObject } from '../../src/json.ts'
import { createDirectory } from '../../src/users/directory.ts'
import {
  type AttributeOperator,
  type AttributeValue,
  compileSegment,
  pathPartsMax,
  type Segment,
  segmentConditionsMax,
  segmentDepthMax,
  segmentLocalesMax,
  segmentUserIdsMax,
  segmentValuesMax,
} from '../../src/users/segment.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

interface Row {
  id: string
  locale: string | null
  attributes: JsonObject
}

let shared: TestDatabase
let rows: Row[]
beforeAll(async () => {
  shared = await createTestDatabase()
  rows = fc.sample(user, { numRuns: 150, seed: 7 }).map((row, index) => ({ ...row, id: `user ${index}` }))
  await createDirectory(shared.database).upsert(rows)
})
afterAll(() => shared[Symbol.asyncDispose]())

const keys = ['plan', 'tier', 'tags', '0', '', '__proto__', "it's", '"', 'ключ', '$1', '\\']
const scalars: AttributeValue[] = [
  'pro',
  'Pro',
  '',
  "' or true --",
  '\\',
  'ü',
  '😀',
  '10',
  0,
  -1,
  1,
  9.5,
  10,
  1e21,
  true,
  false,
]
const key = fc.constantFrom(...keys)
const scalar = fc.constantFrom(...scalars)
const json: fc.Arbitrary<Json> = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 2 },
    { weight: 6, arbitrary: scalar },
    { weight: 1, arbitrary: fc.constant(null) },
    { weight: 1, arbitrary: fc.array(tie('value'), { maxLength: 3 }) },
    {
      weight: 3,
      arbitrary: fc.array(fc.tuple(key, tie('value')), { maxLength: 3 }).map((pairs) => fromEntries(pairs)),
    },
  ),
})).value
const attributes = fc.array(fc.tuple(key, json), { maxLength: 5 }).map((pairs) => fromEntries(pairs))
const user = fc.record({
  locale: fc.constantFrom(null, 'en', 'en-GB', 'pt-BR', 'pt', 'ptx', 'zh-Hant-TW'),
  attributes,
})

/** With `__proto__` as a key like any other. */
const fromEntries = (pairs: [string, Json][]): JsonObject => Object.fromEntries(pairs)

const condition: fc.Arbitrary<Segment> = fc
  .tuple(
    fc.array(key, { minLength: 1, maxLength: 3 }),
    fc.constantFrom<AttributeOperator>('EQ', 'NE', 'GT', 'GTE', 'LT', 'LTE', 'IN', 'CONTAINS', 'EXISTS'),
    fc.array(scalar, { minLength: 1, maxLength: 15 }),
  )
  .map(([parts, op, values]) => ({ path: parts.join('.'), op, values: valuesFor(op, values) }))
  .filter(
    ({ path, op, values }) => path !== '' && !(op.length <= 3 && /^[GL]T/.test(op) && typeof values[0] === 'boolean'),
  )
  .map((attribute) => ({ attribute }))

function valuesFor(op: AttributeOperator, values: AttributeValue[]): AttributeValue[] {
  if (op === 'EXISTS') return []
  return op === 'IN' ? values : values.slice(0, 1)
}

const segment: fc.Arbitrary<Segment> = fc.letrec<{ segment: Segment }>((tie) => ({
  segment: fc.oneof(
    { maxDepth: 3 },
    { weight: 4, arbitrary: condition },
    { weight: 1, arbitrary: fc.constant({ everyone: true }) },
    {
      weight: 1,
      arbitrary: fc.record({ userIds: fc.array(fc.constantFrom('user 1', 'user 2', 'nobody', "'"), { minLength: 1 }) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        locales: fc.array(fc.constantFrom('en', 'EN-gb', 'pt', 'zh-Hant', 'de'), { minLength: 1 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ all: fc.array(tie('segment'), { minLength: 1, maxLength: 3 }) }) },
    { weight: 1, arbitrary: fc.record({ any: fc.array(tie('segment'), { minLength: 1, maxLength: 3 }) }) },
    { weight: 1, arbitrary: fc.record({ not: tie('segment') }) },
  ),
})).segment

async function found(one: Segment): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`select id from users u where ${compileSegment(one)}`.execute(
    shared.database.kysely,
  )
  return rows.map(({ id }) => id).sort()
}

test('finds whom it means, whatever the attributes are', { timeout: 60_000 }, async () => {
  const sizes = new Set<number>()
  await fc.assert(
    fc.asyncProperty(segment, async (one) => {
      const expected = rows.filter((row) => means(one, row)).map(({ id }) => id)
      expect(await found(one)).toEqual(expected.sort())
      sizes.add(expected.length)
    }),
    { numRuns: 1_000 },
  )
  // Neither nobody nor everybody alone.
  expect(sizes.size).toBeGreaterThan(20)
})

/** The model: in JavaScript, as the schema has it. */
function means({ everyone, userIds, locales, attribute, all, any, not }: Segment, row: Row): boolean {
  if (everyone) return true
  if (userIds) return userIds.includes(row.id)
  if (locales) {
    return locales.some((range) => `${row.locale}-`.toLowerCase().startsWith(`${range}-`.toLowerCase()))
  }
  if (all) return all.every((one) => means(one, row))
  if (any) return any.some((one) => means(one, row))
  if (not) return !means(not, row)
  if (!attribute) throw new Error('an empty segment')
  const { path, op, values } = attribute
  const value = path
    .split('.')
    .reduce<Json | undefined>((inner, part) => (isObject(inner) ? own(inner, part) : undefined), row.attributes)
  const [operand] = values ?? []
  if (value === undefined || value === null) return false
  if (op === 'EXISTS') return true
  if (op === 'CONTAINS') return Array.isArray(value) && value.some((item) => item === operand)
  if (op === 'EQ') return value === operand
  if (op === 'NE') return value !== operand
  if (op === 'IN') return (values ?? []).some((one) => one === value)
  if (typeof value !== typeof operand) return false
  const order =
    typeof value === 'number'
      ? value - Number(operand)
      : Buffer.compare(Buffer.from(String(value)), Buffer.from(String(operand)))
  return { GT: order > 0, GTE: order >= 0, LT: order < 0, LTE: order <= 0 }[op]
}

const own = (object: JsonObject, name: string) => (Object.hasOwn(object, name) ? object[name] : undefined)
const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const hostile = [
  "'; drop table users; --",
  "' or '1'='1",
  '") or true --',
  '{"$gt":""}',
  '%',
  '\\u0000',
  'x'.repeat(200),
  '/*',
  ';select pg_sleep(10)',
  '{{7*7}}',
]

test.each(hostile)('takes %j for what it is: a text that nobody has', async (text) => {
  const segments: Segment[] = [
    { userIds: [text] },
    { attribute: { path: text, op: 'EXISTS' } },
    { attribute: { path: text, op: 'NE', values: [text] } },
    { attribute: { path: 'plan', op: 'EQ', values: [text] } },
    { attribute: { path: 'plan', op: 'IN', values: [text, text] } },
    { attribute: { path: 'plan', op: 'IN', values: Array.from({ length: 20 }, () => text) } },
    { attribute: { path: 'tags', op: 'CONTAINS', values: [text] } },
  ]
  for (const one of segments) expect(await found(one)).toEqual([])
  expect(() => compileSegment({ locales: [text] })).toThrow(expect.objectContaining({ code: 'BAD_USER_INPUT' }))
  expect(await found({ everyone: true })).toHaveLength(rows.length)
})

const nested = (depth: number): Segment => (depth === 1 ? { everyone: true } : { not: nested(depth - 1) })
const many = (count: number) => Array.from({ length: count }, (_, index) => `${index}`)

test.each<[string, Segment]>([
  ['nothing', {}],
  ['everyone: false', { everyone: false }],
  ['no ids', { userIds: [] }],
  ['no locales', { locales: [] }],
  ['no conditions', { all: [] }],
  ['no alternatives', { any: [] }],
  ['no values', { attribute: { path: 'a', op: 'IN', values: [] } }],
  ['nothing to compare with', { attribute: { path: 'a', op: 'EQ' } }],
  ['two values of one comparison', { attribute: { path: 'a', op: 'NE', values: [1, 2] } }],
  ['values of EXISTS', { attribute: { path: 'a', op: 'EXISTS', values: [1] } }],
  ['an order of booleans', { attribute: { path: 'a', op: 'GT', values: [true] } }],
  ['no path', { attribute: { path: '', op: 'EXISTS' } }],
  ['a path with NUL', { attribute: { path: 'a\0', op: 'EXISTS' } }],
  ['a value with NUL', { attribute: { path: 'a', op: 'EQ', values: ['\0'] } }],
  ['half a character', { attribute: { path: 'a', op: 'EQ', values: ['\ud800'] } }],
  ['a long path', { attribute: { path: many(pathPartsMax + 1).join('.'), op: 'EXISTS' } }],
  ['too deep', nested(segmentDepthMax + 1)],
  ['too wide', { any: many(segmentConditionsMax).map(() => ({ everyone: true })) }],
  ['too many ids', { userIds: many(segmentUserIdsMax + 1) }],
  ['too many locales', { locales: many(segmentLocalesMax + 1) }],
  ['too many values', { attribute: { path: 'a', op: 'IN', values: many(segmentValuesMax + 1) } }],
])('%s is BAD_USER_INPUT', (_, one) => {
  expect(() => compileSegment(one)).toThrow(expect.objectContaining({ code: 'BAD_USER_INPUT' }))
})

test('what is as large as it may be is carried out', async () => {
  expect(await found(nested(segmentDepthMax))).toEqual([])
  expect(await found({ any: many(segmentConditionsMax - 1).map(() => ({ everyone: true })) })).toHaveLength(rows.length)
  expect(await found({ userIds: [...many(segmentUserIdsMax - 1), 'user 3'] })).toEqual(['user 3'])
  expect(await found({ attribute: { path: 'a', op: 'IN', values: many(segmentValuesMax) } })).toEqual([])
})
