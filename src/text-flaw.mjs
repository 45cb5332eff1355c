// @ts-check
// What is wrong with a text, if anything. A plain module, since the process that renders templates checks what it rendered
// by the same rules (templates/render-process.mjs). Everybody else calls `checkText` (text.ts).

/**
 * Null, or what is wrong: too long, too short, or what PostgreSQL can't store. Characters are code points.
 * @param {string} field
 * @param {string} text
 * @param {number} charactersMax
 * @param {number} [charactersMin] Default 1.
 * @returns {string | null}
 */
export function textFlaw(field, text, charactersMax, charactersMin = 1) {
  if (isLonger(text, charactersMax)) return `${field} must have ${charactersMax} characters at most`
  if (text.length < charactersMin) return `${field} must not be empty`
  if (!isStorable(text)) return `${field} must not contain NUL characters or lone surrogates`
  return null
}

/**
 * False for what PostgreSQL refuses a whole statement for.
 * @param {string} text
 */
export function isStorable(text) {
  return text.isWellFormed() && !text.includes('\0')
}

/**
 * A string has no more code points than code units, so that most need no counting.
 * @param {string} text
 * @param {number} charactersMax
 */
function isLonger(text, charactersMax) {
  return text.length > charactersMax && (text.length > 2 * charactersMax || [...text].length > charactersMax)
}
