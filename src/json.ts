// JSON as callers hand it over, and as it is stored.
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
