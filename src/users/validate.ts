// What the directory takes. Each failure is BAD_USER_INPUT and names the field.
import { badUserInput } from '../errors.ts'
import { toJsonText } from '../json.ts'
import { canonicalLocale } from '../locale.ts'
import { checkText, checkUserId } from '../text.ts'
import type { UserInput } from './user.ts'

export const upsertedUsersMax = 1_000
export const deletedUsersMax = 1_000
export const nameCharactersMax = 200
export const attributesBytesMax = 16 * 1024

/** As it is stored: `attributes` as JSON text, what is left out undefined. */
export interface UserRecord {
  id: string
  name?: string | null
  locale?: string | null
  timeZone?: string | null
  attributes?: string
}

export function validateUser({ id, name, locale, timeZone, attributes }: UserInput): UserRecord {
  checkUserId('id', id)
  if (name != null) checkText('name', name, nameCharactersMax)
  return {
    id,
    ...(name !== undefined && { name }),
    ...(locale !== undefined && { locale: locale === null ? null : canonicalLocale('locale', locale) }),
    ...(timeZone !== undefined && { timeZone: timeZone === null ? null : checkTimeZone(timeZone) }),
    ...(attributes !== undefined && { attributes: toJsonText('attributes', attributes ?? {}, attributesBytesMax) }),
  }
}

/** Making a formatter takes 30 µs, and there are some 600 names. */
const knownTimeZones = new Set<string>()

function checkTimeZone(timeZone: string): string {
  if (knownTimeZones.has(timeZone)) return timeZone
  // Offsets such as +01:00 are no names.
  if (!/^[A-Za-z][\w+/-]{0,99}$/.test(timeZone) || !isTimeZone(timeZone)) {
    throw badUserInput('timeZone must be an IANA name such as Europe/Lisbon')
  }
  // Any case is taken, so that spellings are many: those beyond are checked each time.
  if (knownTimeZones.size < 2_000) knownTimeZones.add(timeZone)
  return timeZone
}

function isTimeZone(timeZone: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone })
    return true
  } catch {
    return false
  }
}
