// What may be sent. The limits are the operating contract's; each failure is BAD_USER_INPUT and names the field.
import { contentFlaw } from '../content-flaw.mjs'
import { badUserInput } from '../errors.ts'
import { type JsonObject, toJsonText } from '../json.ts'
import { checkText, checkUserId } from '../text.ts'
import type { Content, Priority } from './notification.ts'

export const categoryCharactersMax = 100
export const dataBytesMax = 16 * 1024
export const idempotencyKeyCharactersMax = 255
export const batchItemsMax = 1_000

export interface SendInput {
  userId: string
  category: string
  title: string
  body?: string | null | undefined
  data?: JsonObject | null | undefined
  url?: string | null | undefined
  priority: Priority
  /** Milliseconds since 1970. */
  expiresAt?: number | null | undefined
  idempotencyKey?: string | null | undefined
}

/** Whether `expiresAt` lies ahead is not looked at here: a repeated send may come after it. */
export function validateContent(input: SendInput): Content {
  checkUserId('userId', input.userId)
  checkCategory(input.category)
  checkShown(input)
  const data = toDataText(input.data)
  return {
    userId: input.userId,
    category: input.category,
    title: input.title,
    body: input.body ?? null,
    data,
    url: input.url ?? null,
    priority: input.priority,
    expiresAt: input.expiresAt ?? null,
  }
}

export function checkCategory(category: string): void {
  if (categoryPattern.test(category)) return
  throw badUserInput(`category must be 1 to ${categoryCharactersMax} of a-z, 0-9, dot, underscore and hyphen`)
}

/** What the user gets to see. */
export function checkShown(content: Pick<SendInput, 'title' | 'body' | 'url'>): void {
  const flaw = contentFlaw(content)
  if (flaw !== null) throw badUserInput(flaw)
}

export function toDataText(data: JsonObject | null | undefined): string | null {
  return data == null ? null : toJsonText('data', data, dataBytesMax)
}

export function checkIdempotencyKey(key: string): void {
  checkText('idempotencyKey', key, idempotencyKeyCharactersMax)
}

const categoryPattern = new RegExp(`^[a-z0-9._-]{1,${categoryCharactersMax}}$`)
