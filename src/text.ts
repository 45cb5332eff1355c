// Texts as callers hand them over, and the one that is everywhere: a user's id. Characters are code points.
import { badUserInput } from './errors.ts'

export const userIdCharactersMax = 200

/** Fails with BAD_USER_INPUT, naming the field: too long, too short, or what PostgreSQL can't store. */
export function checkText(field: string, text: string, charactersMax: number, charactersMin = 1): void {
  if (isLonger(text, charactersMax)) throw badUserInput(`${field} must have ${charactersMax} characters at most`)
  if (text.length < charactersMin) throw badUserInput(`${field} must not be empty`)
  if (!isStorable(text)) throw badUserInput(`${field} must not contain NUL characters or lone surrogates`)
}

export function checkUserId(field: string, id: string): void {
  checkText(field, id, userIdCharactersMax)
}

/** True of what `checkUserId` takes. */
export function isUserId(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && !isLonger(value, userIdCharactersMax) && isStorable(value)
}

/** False for what PostgreSQL refuses a whole statement for. */
export function isStorable(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0')
}

/** A string has no more code points than code units, so that most need no counting. */
function isLonger(text: string, charactersMax: number): boolean {
  return text.length > charactersMax && (text.length > 2 * charactersMax || [...text].length > charactersMax)
}
