// Language tags as callers hand them over.
import { badUserInput } from './errors.ts'

/** RFC 5646 asks for 35; private extensions make longer ones. */
export const localeCharactersMax = 100

/** BCP 47 in its canonical case: `pt-br` is `pt-BR`. Fails with BAD_USER_INPUT. */
export function canonicalLocale(field: string, text: string): string {
  try {
    const [locale] = text.length <= localeCharactersMax ? Intl.getCanonicalLocales(text) : []
    if (locale !== undefined) return locale
  } catch {
    // Told below.
  }
  throw badUserInput(`${field} must be a BCP 47 language tag such as pt-BR`)
}
