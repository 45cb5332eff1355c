import fc from 'fast-check'
import { GraphQLError, parseValue, type ValueNode } from 'graphql'
import { expect, test } from 'vitest'
import { dateTime, jsonDepthMax, jsonObject } from '../../src/graphql/scalars.ts'

const refused = expect.objectContaining({ extensions: { code: 'BAD_USER_INPUT' } })
const literal = (text: string): ValueNode => parseValue(text)

test('an instant comes back as it went in, to the millisecond', () => {
  fc.assert(
    fc.property(fc.date({ min: new Date('0001-01-01'), max: new Date('9999-12-31'), noInvalidDate: true }), (date) => {
      expect(dateTime.parseValue(dateTime.serialize(date.getTime()))).toBe(date.getTime())
    }),
  )
})

test.each([
  ['2026-01-31T09:30:00Z', '2026-01-31T09:30:00.000Z'],
  ['2026-01-31t09:30:00z', '2026-01-31T09:30:00.000Z'],
  ['2026-01-31T09:30:00.1+01:00', '2026-01-31T08:30:00.100Z'],
  ['2026-01-31T09:30:00.1239999Z', '2026-01-31T09:30:00.123Z'],
  ['2024-02-29T23:59:59-23:59', '2024-03-01T23:58:59.000Z'],
])('%s is %s', (text, iso) => {
  expect(dateTime.serialize(dateTime.parseValue(text))).toBe(iso)
  expect(dateTime.serialize(dateTime.parseLiteral(literal(JSON.stringify(text))))).toBe(iso)
})

test.each([
  '2026-01-31',
  '2026-01-31T09:30:00',
  '2026-01-31 09:30:00Z',
  '2026-02-29T09:30:00Z',
  '2026-13-01T09:30:00Z',
  '2026-01-31T24:00:00Z',
  '2026-01-31T09:60:00Z',
  '2026-01-31T09:30:60Z',
  '2026-01-31T09:30:00+24:00',
  '2026-01-31T09:30:00.Z',
  '+002026-01-31T09:30:00Z',
  'tomorrow',
  '',
  1_769_851_800_000,
  null,
  new Date(),
])('%s is no instant', (value) => {
  expect(() => dateTime.parseValue(value)).toThrow(refused)
})

test('a number is no instant in a document either', () => {
  expect(() => dateTime.parseLiteral(literal('1769851800000'))).toThrow(refused)
})

test('JSON comes out of a document as JSON.parse would have made it', () => {
  const text = '{ b: 1, a: [-1.5e3, "x", true, null, { c: {} }], e: ENUM }'
  const parsed = jsonObject.parseLiteral(literal(text))
  expect(JSON.stringify(parsed)).toBe('{"b":1,"a":[-1500,"x",true,null,{"c":{}}],"e":"ENUM"}')
})

test('variables inside a literal count as their values, and as null where they are missing', () => {
  const parsed = jsonObject.parseLiteral(literal('{ a: $a, list: [$b, $c] }'), { a: { x: 1 }, b: 2 })
  expect(parsed).toEqual({ a: { x: 1 }, list: [2, null] })
})

test('a key called __proto__ is a key', () => {
  const parsed = jsonObject.parseLiteral(literal('{ __proto__: { admin: true } }'))
  expect(Object.keys(parsed)).toEqual(['__proto__'])
  expect('admin' in parsed).toBe(false)
  const variable = JSON.parse('{ "__proto__": { "admin": true } }')
  expect(JSON.stringify(jsonObject.parseValue(variable))).toBe('{"__proto__":{"admin":true}}')
})

test.each(['[1]', '"x"', '1', 'true', 'null'])('%s is no JSON object', (text) => {
  expect(() => jsonObject.parseValue(JSON.parse(text))).toThrow(refused)
  expect(() => jsonObject.parseLiteral(literal(text))).toThrow(GraphQLError)
})

test('numbers out of range are refused wherever they are', () => {
  expect(() => jsonObject.parseValue(JSON.parse('{ "a": [1e999] }'))).toThrow(refused)
  expect(() => jsonObject.parseLiteral(literal('{ a: [1e999] }'))).toThrow(refused)
  expect(() => jsonObject.parseLiteral(literal('{ a: $a }'), { a: JSON.parse('[-1e999]') })).not.toThrow(TypeError)
})

test('nesting is bounded, in values, literals and both together', () => {
  const nested = (levels: number) => `${'{"a":'.repeat(levels - 1)}{}${'}'.repeat(levels - 1)}`
  const asLiteral = (levels: number) => nested(levels).replaceAll('"', '')
  expect(jsonObject.parseValue(JSON.parse(nested(jsonDepthMax)))).toBeDefined()
  expect(() => jsonObject.parseValue(JSON.parse(nested(jsonDepthMax + 1)))).toThrow(refused)
  expect(jsonObject.parseLiteral(literal(asLiteral(jsonDepthMax)))).toBeDefined()
  expect(() => jsonObject.parseLiteral(literal(asLiteral(jsonDepthMax + 1)))).toThrow(refused)
  const variables = { deep: JSON.parse(nested(jsonDepthMax - 1)), deeper: JSON.parse(nested(jsonDepthMax)) }
  expect(jsonObject.parseLiteral(literal('{ a: $deep }'), variables)).toBeDefined()
  expect(() => jsonObject.parseLiteral(literal('{ a: $deeper }'), variables)).toThrow(refused)
})
