// @ts-check
// Which translation a user reads: lookup as RFC 4647 has it.

/**
 * The first of the locale itself and what is left of it without subtags from the right, that is available; null where none
 * is. Both in canonical case.
 * @param {string} locale
 * @param {(locale: string) => boolean} isAvailable
 * @returns {string | null}
 */
export function lookup(locale, isAvailable) {
  const subtags = locale.split('-')
  while (subtags.length > 0) {
    const range = subtags.join('-')
    if (isAvailable(range)) return range
    subtags.pop()
    // A single letter or digit only begins what has just been dropped.
    while (subtags.at(-1)?.length === 1) subtags.pop()
  }
  return null
}
