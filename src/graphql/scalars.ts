// The scalars of the schema. Instants are milliseconds since 1970 inside the server and RFC 3339 text outside; JSON
// objects are what JSON.parse makes of them.
import { GraphQLError, GraphQLScalarType, Kind, type ObjectValueNode, type ValueNode } from 'graphql'
import type { Json, JsonObject } from '../json.ts'

/** Levels of objects and arrays in one another: far more than anybody nests, and few enough to be walked recursively. */
export const jsonDepthMax = 1_000

/** RFC 3339: a date, a time, and an offset or Z. Digits beyond milliseconds are cut off. */
const instant = /^(\d{4}-\d\d-\d\d)[Tt]((?:[01]\d|2[0-3]):\d\d:\d\d)(\.\d+)?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/
const dateTimeFormat = 'an instant such as "2026-01-31T09:30:00.000Z" is expected'

export const dateTime = new GraphQLScalarType<number, string>({
  name: 'DateTime',
  serialize: (value) => {
    if (typeof value !== 'number') throw new TypeError('an instant is a number of milliseconds')
    return toText(value)
  },
  parseValue: parseInstant,
  parseLiteral: (node) => parseInstant(node.kind === Kind.STRING ? node.value : undefined),
})

/** What is delivered together was created together. */
let latest = { instant: 0, text: new Date(0).toISOString() }

function toText(instant: number): string {
  if (instant !== latest.instant) latest = { instant, text: new Date(instant).toISOString() }
  return latest.text
}

function parseInstant(value: unknown): number {
  const [, date, time, fraction = '', offset] = (typeof value === 'string' && instant.exec(value)) || []
  if (date === undefined || time === undefined || offset === undefined) throw badInput(dateTimeFormat)
  const parsed = Date.parse(`${date}T${time}${fraction.slice(0, 4)}${offset.toUpperCase()}`)
  // Date.parse turns the 31st of a shorter month into the next month's first days.
  if (Number.isNaN(parsed) || new Date(`${date}T00:00:00Z`).toISOString().slice(0, 10) !== date) {
    throw badInput(dateTimeFormat)
  }
  return parsed
}

export const jsonObject = new GraphQLScalarType<JsonObject, unknown>({
  name: 'JSONObject',
  serialize: (value) => value,
  parseValue: (value) => {
    if (!isPlainObject(value)) throw badInput('a JSON object is expected')
    checkJson(value, 1)
    return value
  },
  parseLiteral: (node, variables) => {
    if (node.kind !== Kind.OBJECT) throw badInput('a JSON object is expected')
    return objectOfLiteral(node, variables ?? {}, 1)
  },
})

export const attributeValue = new GraphQLScalarType<string | number | boolean, unknown>({
  name: 'AttributeValue',
  serialize: (value) => value,
  parseValue: attributeOf,
  parseLiteral(node, variables) {
    const isScalar = node.kind !== Kind.ENUM && node.kind !== Kind.OBJECT && node.kind !== Kind.LIST
    return attributeOf(isScalar ? jsonOfLiteral(node, variables ?? {}, 1) : undefined)
  },
})

function attributeOf(value: unknown): string | number | boolean {
  if (typeof value === 'number') return finite(value)
  if (typeof value === 'string' || typeof value === 'boolean') return value
  throw badInput('a string, a number or a boolean is expected')
}

function isPlainObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Variables come from JSON.parse, so that only depth and numbers such as 1e999 are left to look at. */
function checkJson(value: Json, depth: number): void {
  if (typeof value === 'number') return void finite(value)
  if (typeof value !== 'object' || value === null) return
  checkDepth(depth)
  for (const item of Array.isArray(value) ? value : Object.values(value)) checkJson(item, depth + 1)
}

function objectOfLiteral(node: ObjectValueNode, variables: Record<string, unknown>, depth: number): JsonObject {
  checkDepth(depth)
  const object: JsonObject = {}
  for (const { name, value } of node.fields) {
    // An assignment to `__proto__` would set the prototype instead.
    Object.defineProperty(object, name.value, {
      value: jsonOfLiteral(value, variables, depth + 1),
      enumerable: true,
      configurable: true,
      writable: true,
    })
  }
  return object
}

function jsonOfLiteral(node: ValueNode, variables: Record<string, unknown>, depth: number): Json {
  switch (node.kind) {
    case Kind.OBJECT:
      return objectOfLiteral(node, variables, depth)
    case Kind.LIST:
      checkDepth(depth)
      return node.values.map((value) => jsonOfLiteral(value, variables, depth + 1))
    case Kind.INT:
    case Kind.FLOAT:
      return finite(Number(node.value))
    case Kind.VARIABLE:
      return jsonOfVariable(variables[node.name.value], depth)
    case Kind.NULL:
      return null
    default:
      return node.value
  }
}

/** A variable inside a literal has the type that its operation declared, whatever that is; it counts as its JSON. */
function jsonOfVariable(value: unknown, depth: number): Json {
  const text = JSON.stringify(value)
  const json: Json = text === undefined ? null : JSON.parse(text)
  checkJson(json, depth)
  return json
}

function checkDepth(depth: number): void {
  if (depth > jsonDepthMax) throw badInput(`JSON is nested ${jsonDepthMax} levels deep at most`)
}

function finite(value: number): number {
  if (!Number.isFinite(value)) throw badInput('a number is out of range')
  return value
}

function badInput(message: string): GraphQLError {
  return new GraphQLError(message, { extensions: { code: 'BAD_USER_INPUT' } })
}
