// @ts-check
// What one request makes of one user: a text for all, or the translation that is theirs, rendered and checked by the rules
// for what is sent.
import { contentFlaw } from '../content-flaw.mjs'
import { newId } from '../new-id.mjs'
import { describe, isOverMemory, isOverTime, parse, render } from './liquid.mjs'
import { lookup } from './lookup.mjs'

/** Templates that are kept parsed: of the broadcasts that run, and some more. */
const parsedTemplatesMax = 8
/** Of one template: whose translation is looked up once. Users may have any locale. */
const knownLocalesMax = 1_000

/** @typedef {import('./renderer.ts').RenderRequest} RenderRequest */
/** @typedef {import('./renderer.ts').TemplateSource} TemplateSource */
/** @typedef {{ id: string, name?: string | null, locale?: string | null }} User */
/** @typedef {(scope: Readonly<Record<string, unknown>>) => string} Text */
/** @typedef {{ title: Text, body: Text | null, url: Text | null }} Texts */

/**
 * `bound` is the one that it was over, if any.
 * @typedef {{ reason: string, bound: 'time' | 'memory' | null }} Failure
 */

/**
 * Of each user the notification as JSON, or why there is none.
 * @param {RenderRequest} request
 * @returns {(user: User) => string | Failure}
 */
export function createRendition({ cacheKey, source, variables }) {
  if ('content' in source) {
    const { title, body, url } = source.content
    const rest = restOf(title, body, url)
    return (user) => itemOf(user, rest)
  }
  // Nothing in a template changes a value; if something did, other users would see it.
  const frozen = JSON.parse(variables ?? '{}', (_, value) => Object.freeze(value))
  const textsOf = translationsOf(cacheKey, source.template)
  return (user) =>
    renderItem(textsOf(user.locale ?? null), user, { user, userName: user.name ?? '', variables: frozen })
}

/** @type {Map<string, (locale: string | null) => Texts>} */
const parsedTemplates = new Map()

/**
 * @param {string} cacheKey
 * @param {TemplateSource} template
 */
function translationsOf(cacheKey, template) {
  const textsOf = parsedTemplates.get(cacheKey) ?? createTranslations(template)
  parsedTemplates.delete(cacheKey)
  const [oldest] = parsedTemplates.size < parsedTemplatesMax ? [] : parsedTemplates.keys()
  if (oldest !== undefined) parsedTemplates.delete(oldest)
  parsedTemplates.set(cacheKey, textsOf)
  return textsOf
}

/**
 * @param {TemplateSource} template
 * @returns {(locale: string | null) => Texts}
 */
function createTranslations({ defaultLocale, translations }) {
  const available = new Map(
    translations.map(({ locale, title, body, url }) => [
      locale,
      { title: textOf(title), body: body === null ? null : textOf(body), url: url === null ? null : textOf(url) },
    ]),
  )
  const standard = available.get(defaultLocale)
  if (!standard) throw new Error(`there is no translation ${defaultLocale}`)
  /** @type {Map<string, Texts>} */
  const known = new Map()
  return (locale) => {
    if (locale === null) return standard
    let texts = known.get(locale)
    if (!texts) {
      texts = available.get(lookup(locale, (range) => available.has(range)) ?? defaultLocale) ?? standard
      if (known.size >= knownLocalesMax) known.clear()
      known.set(locale, texts)
    }
    return texts
  }
}

/**
 * Parsed at its first use.
 * @param {string} source
 * @returns {Text}
 */
function textOf(source) {
  /** @type {ReturnType<typeof parse> | undefined} */
  let parsed
  return (scope) => {
    parsed ??= parse(source)
    return render(parsed, scope)
  }
}

/**
 * @param {Texts} texts
 * @param {User} user
 * @param {Readonly<Record<string, unknown>>} scope
 * @returns {string | Failure}
 */
function renderItem(texts, user, scope) {
  let field = 'title'
  try {
    const title = texts.title(scope)
    field = 'body'
    const body = texts.body?.(scope) ?? null
    field = 'url'
    const url = texts.url?.(scope) ?? null
    const flaw = contentFlaw({ title, body, url })
    return flaw === null ? itemOf(user, restOf(title, body, url)) : { reason: flaw, bound: null }
  } catch (error) {
    const bound = isOverTime(error) ? 'time' : isOverMemory(error) ? 'memory' : null
    return { reason: `${field}: ${describe(error)}`, bound }
  }
}

/**
 * @param {User} user
 * @param {string} rest
 */
function itemOf({ id }, rest) {
  return `{"i":"${newId()}","u":${JSON.stringify(id)},${rest}`
}

/**
 * @param {string} title
 * @param {string | null} body
 * @param {string | null} url
 */
function restOf(title, body, url) {
  return `"t":${JSON.stringify(title)},"b":${JSON.stringify(body)},"l":${JSON.stringify(url)}}`
}
