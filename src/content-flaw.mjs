// @ts-check
// What a notification may show: the limits on title, body and url, for what is sent as it stands
// (notifications/validate.ts) and for what templates render to (templates/render-process.mjs).
import { textFlaw } from './text-flaw.mjs'

export const titleCharactersMax = 200
export const bodyCharactersMax = 4_000
export const urlCharactersMax = 2_048

/**
 * Null, or what is wrong, naming the field.
 * @param {{ title: string, body?: string | null | undefined, url?: string | null | undefined }} content
 * @returns {string | null}
 */
export function contentFlaw({ title, body, url }) {
  return (
    textFlaw('title', title, titleCharactersMax) ??
    (body == null ? null : textFlaw('body', body, bodyCharactersMax, 0)) ??
    (url == null ? null : urlFlaw(url))
  )
}

/** A base that nobody uses: a path stays on it, anything else leaves it. */
const nowhere = 'http://nowhere.invalid'

/**
 * @param {string} url
 * @returns {string | null}
 */
function urlFlaw(url) {
  const flaw = textFlaw('url', url, urlCharactersMax)
  if (flaw !== null) return flaw
  // Browsers drop white space and control characters from an address, and with them what was checked.
  const isPlain = !/[\s\p{Cc}\\]/u.test(url)
  const isPath = url.startsWith('/') && URL.canParse(url, nowhere) && new URL(url, nowhere).origin === nowhere
  const isAbsolute = /^https?:\/\//i.test(url) && URL.canParse(url)
  if (isPlain && (isPath || isAbsolute)) return null
  return 'url must be an http or https address, or a path that begins with a slash'
}
