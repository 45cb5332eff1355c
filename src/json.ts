// JSON as callers hand it over, and as it is stored.
import { createHash } from 'node:crypto'
import { badUserInput } from './errors.ts'

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json }
export type JsonObject = { [key: string]: Json }

/** Fails with BAD_USER_INPUT over the limit, and for what PostgreSQL can't store. */
export function toJsonText(field: string, object: JsonObject, bytesMax: number): string {
  const text = JSON.stringify(object)
  if (Buffer.byteLength(text) > bytesMax) throw badUserInput(`${field} must have ${bytesMax} bytes as JSON at most`)
  // JSON.stringify escapes exactly those; a backslash that was there before is doubled.
  if (/(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/.test(text)) {
    throw badUserInput(`${field} must not contain NUL characters or lone surrogates`)
  }
  return text
}

/** SHA-256 in hex of a value as canonical JSON: the same for whatever order its keys came in. */
export function canonicalHash(value: Json): string {
  return createHash('sha256')
    .update(JSON.stringify(sortKeys(value)))
    .digest('hex')
}

function sortKeys(value: Json): Json {
  if (Array.isArray(value)) return value.map(sortKeys)
  if (typeof value !== 'object' || value === null) return value
  // fromEntries defines own properties, also one named __proto__.
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, item]) => [key, sortKeys(item)]),
  )
}
