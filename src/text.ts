// Texts as callers hand them over. Characters are code points.
import { badUserInput } from './errors.ts'

/** Fails with BAD_USER_INPUT, naming the field: too long, too short, or what PostgreSQL can't store. */
export function checkText(field: string, text: string, charactersMax: number, charactersMin = 1): void {
  // A string has no more code points than code units, so that most need no counting.
  if (text.length > charactersMax && (text.length > 2 * charactersMax || [...text].length > charactersMax)) {
    throw badUserInput(`${field} must have ${charactersMax} characters at most`)
  }
  if (text.length < charactersMin) throw badUserInput(`${field} must not be empty`)
  if (!isStorable(text)) throw badUserInput(`${field} must not contain NUL characters or lone surrogates`)
}

/** False for what PostgreSQL refuses a whole statement for. */
export function isStorable(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0')
}
