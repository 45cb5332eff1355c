// @ts-check
// Liquid as templates have it: strict, without files, with bounds on time, memory and output. The bounds are liquidjs's own
// where it has some; they end nearly everything, and render-process.mjs what is left.
import { Liquid, LiquidError } from 'liquidjs'

/** Of one text for one user. */
export const renderMsMax = 500
/** Above all that may be saved (validate.ts). */
export const parseUnitsMax = 100_000
/** What one text may allocate on its way, in characters and items of lists. */
export const memoryMax = 1_000_000
/** Of one text, and of each `capture` in it. Far beyond what may be sent, since templates shorten what they captured. */
export const outputCharactersMax = 65_536

/** @typedef {import('liquidjs').Template[]} Parsed */

const engine = new Liquid({
  strictVariables: true,
  strictFilters: true,
  lenientIf: true,
  ownPropertyOnly: true,
  renderLimit: renderMsMax,
  memoryLimit: memoryMax,
  parseLimit: parseUnitsMax,
  // Those of the machine would make the same template say something else elsewhere.
  timezoneOffset: 0,
  locale: 'en-US',
  // Files are looked for in here.
  templates: {},
})
for (const name of ['include', 'render', 'layout', 'block']) delete engine.tags[name]

class BoundedOutput {
  buffer = ''

  /** @param {unknown} value */
  write(value) {
    this.buffer += toText(value)
    if (this.buffer.length > outputCharactersMax) {
      throw new Error(`more than ${outputCharactersMax} characters of output`)
    }
  }
}

/**
 * @param {unknown} value
 * @returns {string}
 */
function toText(value) {
  if (typeof value === 'string') return value
  if (value === null || value === undefined) return ''
  return Array.isArray(value) ? value.map(toText).join('') : String(value)
}

// Tags such as `capture` render without an output of their own: this one is everybody's.
const { renderer } = engine
const renderTemplates = renderer.renderTemplates.bind(renderer)
renderer.renderTemplates = (parsed, context, output = new BoundedOutput()) => renderTemplates(parsed, context, output)

/**
 * A text without Liquid is itself. Fails where it is none; `describe` says why.
 * @param {string} text
 * @returns {Parsed | string}
 */
export function parse(text) {
  return /\{[{%]/.test(text) ? engine.parse(text) : text
}

/**
 * Fails where it can't; `describe` says why, `isOverTime` and `isOverMemory` whether it was for a bound.
 * @param {Parsed | string} parsed
 * @param {Readonly<Record<string, unknown>>} scope Never changed.
 * @returns {string}
 */
export function render(parsed, scope) {
  if (typeof parsed === 'string') return parsed
  // `increment` creates variables, by whatever name.
  return engine.renderSync(parsed, { __proto__: null, ...scope })
}

/**
 * On one line, with the line and the column where there is one.
 * @param {unknown} error
 * @returns {string}
 */
export function describe(error) {
  if (isOverTime(error)) return `it takes more than ${renderMsMax} ms`
  if (isOverMemory(error)) return 'it takes too much memory'
  if (!(error instanceof Error)) return String(error)
  const isLiquidError = LiquidError.is(error)
  if ((isLiquidError ? error.originalError : error) instanceof RangeError) return 'it is nested too deeply, or too long'
  if (!isLiquidError) return shorten(error.message)
  const [line, column] = error.token.getPosition()
  return `${shorten(error.message.replace(/, line:\d+, col:\d+$/, ''))}, line ${line}, column ${column}`
}

/** Messages quote tags, which may be long. */
const messageCharactersMax = 300

/** @param {string} message */
function shorten(message) {
  const line = message.replace(/\s+/g, ' ')
  // Not through the middle of a pair of surrogates.
  return line.length > messageCharactersMax ? `${line.slice(0, messageCharactersMax).toWellFormed()}…` : line
}

/** @param {unknown} error */
export function isOverTime(error) {
  return error instanceof Error && error.message.startsWith('template render limit exceeded')
}

/** @param {unknown} error */
export function isOverMemory(error) {
  return error instanceof Error && error.message.startsWith('memory alloc limit exceeded')
}
