// Texts as callers hand them over, and the one that is everywhere: a user's id. Characters are code points.
import { badUserInput } from './errors.ts'
import { textFlaw } from './text-flaw.mjs'

export const userIdCharactersMax = 200

/** Fails with BAD_USER_INPUT, naming the field: too long, too short, or what PostgreSQL can't store. */
export function checkText(field: string, text: string, charactersMax: number, charactersMin = 1): void {
  const flaw = textFlaw(field, text, charactersMax, charactersMin)
  if (flaw !== null) throw badUserInput(flaw)
}

export function checkUserId(field: string, id: string): void {
  checkText(field, id, userIdCharactersMax)
}

/** True of what `checkUserId` takes. */
export function isUserId(value: unknown): value is string {
  return typeof value === 'string' && textFlaw('id', value, userIdCharactersMax) === null
}
