// What may be sent. The limits are the operating contract's; each failure is BAD_USER_INPUT and names the field.
import { badUserInput } from '../errors.ts'
import { type JsonObject, toJsonText } from '../json.ts'
import { checkText, checkUserId } from '../text.ts'
import type { Content, Priority } from './notification.ts'

export const categoryCharactersMax = 100
export const titleCharactersMax = 200
export const bodyCharactersMax = 4_000
export const urlCharactersMax = 2_048
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
  if (!categoryPattern.test(input.category)) {
    throw badUserInput(`category must be 1 to ${categoryCharactersMax} of a-z, 0-9, dot, underscore and hyphen`)
  }
  checkText('title', input.title, titleCharactersMax)
  if (input.body != null) checkText('body', input.body, bodyCharactersMax, 0)
  if (input.url != null) checkUrl(input.url)
  const data = input.data == null ? null : toJsonText('data', input.data, dataBytesMax)
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

export function checkIdempotencyKey(key: string): void {
  checkText('idempotencyKey', key, idempotencyKeyCharactersMax)
}

const categoryPattern = new RegExp(`^[a-z0-9._-]{1,${categoryCharactersMax}}$`)

/** A base that nobody uses: a path stays on it, anything else leaves it. */
const nowhere = 'http://nowhere.invalid'

function checkUrl(url: string): void {
  checkText('url', url, urlCharactersMax)
  // Browsers drop white space and control characters from an address, and with them what was checked.
  const isPlain = !/[\s\p{Cc}\\]/u.test(url)
  const isPath = url.startsWith('/') && URL.canParse(url, nowhere) && new URL(url, nowhere).origin === nowhere
  const isAbsolute = /^https?:\/\//i.test(url) && URL.canParse(url)
  if (!isPlain || !(isPath || isAbsolute)) {
    throw badUserInput('url must be an http or https address, or a path that begins with a slash')
  }
}
