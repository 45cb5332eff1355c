// What may be saved as a template, but for its Liquid, which the renderer checks. Each failure is BAD_USER_INPUT and names
// the field.
import { badUserInput } from '../errors.ts'
import { canonicalLocale } from '../locale.ts'
import { checkText } from '../text.ts'
import type { Template, TemplateInput, Translation, TranslationInput } from './template.ts'

export const keyCharactersMax = 100
export const translationsMax = 100
/** Of the sources. What they render to has the limits of what is sent (content-flaw.mjs). */
export const titleSourceCharactersMax = 2_000
export const bodySourceCharactersMax = 20_000
export const urlSourceCharactersMax = 4_096

const keyPattern = new RegExp(`^[a-z0-9._-]{1,${keyCharactersMax}}$`)

export function isTemplateKey(key: string): boolean {
  return keyPattern.test(key)
}

export function validateTemplate(input: TemplateInput): Omit<Template, 'updatedAt'> {
  const { key } = input
  if (!isTemplateKey(key)) {
    throw badUserInput(`key must be 1 to ${keyCharactersMax} of a-z, 0-9, dot, underscore and hyphen`)
  }
  if (input.translations.length === 0) throw badUserInput('translations must not be empty')
  if (input.translations.length > translationsMax) throw badUserInput(`translations has ${translationsMax} at most`)
  const defaultLocale = canonicalLocale('defaultLocale', input.defaultLocale)
  const translations = input.translations.map(validateTranslation)
  const locales = new Set<string>()
  for (const { locale } of translations) {
    if (locales.has(locale)) throw badUserInput(`translations has ${locale} twice`)
    locales.add(locale)
  }
  if (!locales.has(defaultLocale)) throw badUserInput(`translations must have the default locale ${defaultLocale}`)
  return { key, defaultLocale, translations }
}

function validateTranslation({ locale: given, title, body, url }: TranslationInput): Translation {
  const locale = canonicalLocale('translations, locale', given)
  const field = (name: string) => `translations ${locale}, ${name}`
  checkText(field('title'), title, titleSourceCharactersMax)
  if (body != null) checkText(field('body'), body, bodySourceCharactersMax, 0)
  if (url != null) checkText(field('url'), url, urlSourceCharactersMax)
  return { locale, title, body: body ?? null, url: url ?? null }
}
