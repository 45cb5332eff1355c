// @ts-check
// The program that renders: a process of its own, which renderer.ts starts, asks one question at a time, and kills where it
// is silent. A process and not a thread, since V8 aborts a whole process where a thread's lists grow beyond its memory.
// What runs too long is interrupted right here, so that it is known whose turn it was.
import { writeFileSync, writeSync } from 'node:fs'
import { setImmediate as yieldToMessages } from 'node:timers/promises'
import { isNativeError } from 'node:util/types'
import { createContext, Script } from 'node:vm'
import { createChunks } from './chunks.mjs'
import { describe, parse } from './liquid.mjs'
import { createRendition } from './rendition.mjs'

/** A sign of life is given so often. */
const stretchMs = 100
/** Of one request: users who took too long, each of them twice. After so many the template is at fault. */
const slowUsersMax = 3
/** Of one request. No clock but that of the processor's time counts here, which stands still while a machine does. */
const requestCpuMsMax = 30_000

/** @typedef {import('./renderer.ts').Question} Question */
/** @typedef {import('./renderer.ts').Answer} Answer */
/** @typedef {import('./rendition.mjs').Failure} Failure */
/** @typedef {import('./rendition.mjs').User} User */
/** @typedef {import('./template.ts').Problem} Problem */

// They are meant for the server, which still wants answers while it drains.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {})
process.on('disconnect', () => process.exit())
try {
  // Where memory is short Linux takes this process, and not the server.
  writeFileSync('/proc/self/oom_score_adj', '1000')
} catch {
  // Elsewhere there is no such thing.
}
process.on('message', (message) => {
  if (!isQuestion(message)) return
  answerTo(message).then(send, (error) => send({ kind: 'defect', message: describe(error) }))
})
send({ kind: 'ready' })

/** @param {Answer} answer */
function send(answer) {
  process.send?.(answer)
}

/**
 * @param {unknown} message
 * @returns {message is Question}
 */
function isQuestion(message) {
  return typeof message === 'object' && message !== null && 'kind' in message
}

/**
 * @param {Question} question
 * @returns {Promise<Answer>}
 */
function answerTo(question) {
  return question.kind === 'check' ? check(question) : render(question)
}

/**
 * @param {Extract<Question, { kind: 'check' }>} question
 * @returns {Promise<Answer>}
 */
async function check({ translations, hangMsMax }) {
  /** @type {Problem[]} */
  const problems = []
  for (const { locale, ...texts } of translations) {
    for (const field of /** @type {const} */ (['title', 'body', 'url'])) {
      const text = texts[field]
      if (text === null) continue
      /** @type {string | null} */
      let message = null
      const tryToParse = () => {
        try {
          parse(text)
          message = null
        } catch (error) {
          message = describe(error)
        }
      }
      // The first time it may have been the machine.
      const isDone = within(hangMsMax, tryToParse) || within(hangMsMax, tryToParse)
      if (!isDone) message = 'it takes too long to parse'
      if (message !== null) problems.push({ locale, field, message })
    }
    await signOfLife()
  }
  return { kind: 'checked', problems }
}

/**
 * @param {Extract<Question, { kind: 'render' }>} question
 * @returns {Promise<Answer>}
 */
async function render({ request, skip, isCareful, hangMsMax }) {
  const startedAt = process.cpuUsage()
  /** @type {User[]} */
  const users = JSON.parse(request.users)
  const rendition = createRendition(request)
  const chunks = createChunks(request.chunkItemsMax, request.chunkCharactersMax)
  /** @type {string | null} */
  let firstFailure = null
  let tooSlow = 0
  let slowUsers = 0
  let next = 0
  /** Who took too long is tried once more, since it may have been the machine. */
  let isSecondTry = false

  /**
   * @param {User} user
   * @param {string | Failure} outcome
   */
  const take = (user, outcome) => {
    if (typeof outcome === 'string') chunks.add(user.id, outcome)
    else {
      const isSlow = outcome.bound === 'time'
      if (isSlow && !isSecondTry) {
        isSecondTry = true
        return
      }
      firstFailure ??= `user ${JSON.stringify(user.id)}, ${outcome.reason}`
      if (outcome.bound !== null) tooSlow++
      if (isSlow) slowUsers++
      chunks.fail(user.id)
    }
    isSecondTry = false
    next++
  }

  while (next < users.length) {
    /** @type {{ user: User, outcome: string | Failure }[]} */
    const outcomes = []
    const isDone = within(stretchMs + hangMsMax, () => {
      const until = performance.now() + stretchMs
      for (let place = next; place < users.length && performance.now() < until; place++) {
        const user = users[place]
        if (!user) break
        // The last of these is whose turn it was, should this process end.
        if (isCareful) writeSync(1, `${place}\n`)
        const outcome = skip.includes(place) ? skipped : rendition(user)
        outcomes.push({ user, outcome })
        if (typeof outcome !== 'string' && outcome.bound === 'time') break
      }
    })
    // Out here nothing is interrupted, so that nobody is taken twice.
    for (const { user, outcome } of outcomes) take(user, outcome)
    const user = users[next]
    if (!isDone && user) take(user, { reason: `it takes more than ${hangMsMax} ms`, bound: 'time' })
    const { user: userUs, system: systemUs } = process.cpuUsage(startedAt)
    if (slowUsers >= slowUsersMax || (userUs + systemUs) / 1_000 > requestCpuMsMax) return { kind: 'hangs' }
    await signOfLife()
  }
  return { kind: 'rendered', rendered: { chunks: chunks.finish(), firstFailure, tooSlow } }
}

/** @type {Failure} */
const skipped = { reason: 'it takes too much time or memory', bound: 'memory' }

async function signOfLife() {
  send({ kind: 'alive' })
  await yieldToMessages()
}

const sandbox = createContext({ work: () => {} })
const script = new Script('work()')

/**
 * False where it took longer and was interrupted, wherever it was.
 * @param {number} timeoutMs
 * @param {() => void} work
 * @returns {boolean}
 */
function within(timeoutMs, work) {
  sandbox.work = work
  try {
    script.runInContext(sandbox, { timeout: timeoutMs })
    return true
  } catch (error) {
    // It is an error of the sandbox's, and so none of the `Error` here.
    if (isNativeError(error) && 'code' in error && error.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return false
    throw error
  }
}
