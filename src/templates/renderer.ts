// Rendering and checking of templates, in a process of its own (render-process.mjs): started at its first use, killed and
// started again where it hangs or runs out of memory. No template can hold up or end this process. Questions are answered
// one after the other; checks, which somebody waits for, go before what broadcasts ask.
import { type ChildProcess, fork } from 'node:child_process'
import { Socket } from 'node:net'
import { badUserInput, CarillonError } from '../errors.ts'
import type { Problem, Translation } from './template.ts'

/** Of one user, or of parsing one text. */
export const renderHangMsMax = 2_000
/** Between two signs of life, which come every 100 ms but for what hangs. Some loops of V8 can't be interrupted. */
const silenceMsMax = (hangMsMax: number) => 2 * hangMsMax + 1_000
/** To start, on a machine that is busy with other things. */
const startMsMax = 30_000
/** Of lists and objects of the process that renders. Its requests have a few megabytes. */
export const renderHeapMbMax = 256
/** The process may die so often over one request, the last time for good. */
const deathsMax = 3
/** Two broadcasts render at a time; the rest are checks. */
export const questionsMax = 100
/** What a process that won't start says is kept so far. */
const complaintCharactersMax = 2_000

export interface TemplateSource {
  defaultLocale: string
  translations: readonly Translation[]
}

export interface RenderRequest {
  /** Parsed templates are remembered under it, a handful: another template or another version has another. */
  cacheKey: string
  /** What is sent: a text for all as it stands, which has been checked and is never parsed as Liquid, or a template. */
  source: { content: { title: string; body: string | null; url: string | null } } | { template: TemplateSource }
  /** The text of a JSON object, or null. */
  variables: string | null
  /** The JSON text of a list of users, in order: `[{"id":…,"name":…,"locale":…,"timeZone":…,"attributes":{…}}]`; for a text for all the ids are enough. */
  users: string
  /** Items of one chunk. */
  chunkItemsMax: number
  /** Characters of a chunk's `items`, but for a single item that has more. */
  chunkCharactersMax: number
}

export interface RenderedChunk {
  /**
   * JSON text, in order of the users: `[{"i": id of the notification, "u": user, "t": title, "b": body, "l": url}]`.
   * `[]` where all failed.
   */
  items: string
  count: number
  /** Users of this stretch who could not be rendered. */
  failed: number
  /** Id of the last user that this stretch covers, rendered or failed. */
  upTo: string
}

export interface Rendered {
  chunks: RenderedChunk[]
  /** Such as `user "x", title: undefined variable: variables.foo, line 1, column 4`. */
  firstFailure: string | null
  /** How many of those failed because of time or memory. */
  tooSlow: number
}

export interface Renderer {
  /** The first problem of each text. Fails with BAD_USER_INPUT where parsing hangs, and with UNAVAILABLE. */
  check(translations: readonly Translation[]): Promise<Problem[]>
  /**
   * A user for whom it fails or takes too long counts as failed. Fails with BAD_USER_INPUT where it takes too long for three
   * of them or takes half a minute in all, with UNAVAILABLE, and as a defect where the process can't be started or dies
   * over the request three times.
   */
  render(request: RenderRequest): Promise<Rendered>
  /** What is pending fails with UNAVAILABLE. Resolves once the process has ended. */
  close(): Promise<void>
}

export type Question =
  | { kind: 'check'; translations: readonly Translation[]; hangMsMax: number }
  | {
      kind: 'render'
      request: RenderRequest
      /** Places of users in `request.users` over whom the process died. */
      skip: number[]
      /** Says whose turn it is, since it died before. */
      isCareful: boolean
      hangMsMax: number
    }

export type Answer =
  | { kind: 'ready' | 'alive' | 'hangs' }
  | { kind: 'checked'; problems: Problem[] }
  | { kind: 'rendered'; rendered: Rendered }
  | { kind: 'defect'; message: string }

interface Pending {
  question: Question
  deaths: number
  answer(answer: Answer): void
  fail(error: Error): void
}

interface RenderProcess {
  ask(question: Question): void
  /** While it is busy it keeps this process alive. */
  setBusy(isBusy: boolean): void
  /** Resolves once it has ended. */
  end(): Promise<void>
}

export interface RendererOptions {
  hangMsMax?: number
  heapMbMax?: number
}

export function createRenderer(options: RendererOptions = {}): Renderer {
  const { hangMsMax = renderHangMsMax, heapMbMax = renderHeapMbMax } = options
  const checks: Pending[] = []
  const renders: Pending[] = []
  let current: Pending | null = null
  let running: RenderProcess | null = null
  let isClosed = false

  const goOn = () => {
    current ??= checks.shift() ?? renders.shift() ?? null
    running?.setBusy(current !== null)
    if (!current) return
    running ??= startProcess(hangMsMax, heapMbMax, { onAnswer, onEnd })
    running.setBusy(true)
    running.ask(current.question)
  }
  const onAnswer = (answer: Answer) => {
    const answered = current
    current = null
    answered?.answer(answer)
    goOn()
  }
  const onEnd = (turn: number | null, complaint: string | null) => {
    running = null
    const interrupted = current
    if (!interrupted) return
    interrupted.deaths += 1
    if (complaint !== null || interrupted.deaths >= deathsMax) {
      current = null
      interrupted.fail(complaint === null ? died(interrupted.question) : new Error(`${notStarting}: ${complaint}`))
    } else if (interrupted.question.kind === 'render') {
      // The first time it may have been killed for another reason; from then on it says whose turn it is.
      if (interrupted.question.isCareful && turn !== null) interrupted.question.skip.push(turn)
      interrupted.question.isCareful = true
    }
    goOn()
  }

  const ask = <Result>(question: Question, resultOf: (answer: Answer) => Result | undefined) =>
    new Promise<Result>((resolve, reject) => {
      if (isClosed) return reject(closed())
      if (checks.length + renders.length >= questionsMax)
        return reject(new CarillonError('UNAVAILABLE', 'too many templates at once'))
      const pending: Pending = {
        question,
        deaths: 0,
        fail: reject,
        answer(answer) {
          const result = resultOf(answer)
          if (result !== undefined) resolve(result)
          else reject(answer.kind === 'hangs' ? atFault() : new Error(`rendering failed: ${JSON.stringify(answer)}`))
        },
      }
      const queue = question.kind === 'check' ? checks : renders
      queue.push(pending)
      if (!current) goOn()
    })

  return {
    check: (translations) =>
      ask({ kind: 'check', translations, hangMsMax }, (answer) =>
        answer.kind === 'checked' ? answer.problems : undefined,
      ),
    render: (request) =>
      ask({ kind: 'render', request, skip: [], isCareful: false, hangMsMax }, (answer) =>
        answer.kind === 'rendered' ? answer.rendered : undefined,
      ),
    async close() {
      isClosed = true
      for (const { fail } of [...(current ? [current] : []), ...checks.splice(0), ...renders.splice(0)]) fail(closed())
      current = null
      await running?.end()
    },
  }
}

const notStarting = 'the process that renders does not start'

/** Of a check it is the template's fault. Of a broadcast it may be the machine's, which ends this process first. */
function died({ kind }: Question): Error {
  return kind === 'check' ? atFault() : new Error('the process that renders died over one request again and again')
}

const atFault = () => badUserInput('the template takes too much time or memory')
const closed = () => new CarillonError('UNAVAILABLE', 'the server is going away')

interface Listeners {
  onAnswer(answer: Answer): void
  /** Whose turn it was, where it said so; and what it complained about where it had not even started. */
  onEnd(turn: number | null, complaint: string | null): void
}

function startProcess(hangMsMax: number, heapMbMax: number, { onAnswer, onEnd }: Listeners): RenderProcess {
  const child = fork(new URL('./render-process.mjs', import.meta.url), [], {
    // Nothing of what this server knows. Its messages go without JSON, since most of each is one long text.
    env: {},
    execArgv: [`--max-old-space-size=${heapMbMax}`, '--disallow-code-generation-from-strings'],
    serialization: 'advanced',
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  let isReady = false
  let isEnded = false
  let turn: number | null = null
  let complaint = ''
  let asked: Question | null = null
  let silence: NodeJS.Timeout | undefined
  let setEnded = () => {}
  const ended = new Promise<void>((resolve) => {
    setEnded = resolve
  })

  const listen = () => {
    clearTimeout(silence)
    if (!asked) return
    silence = setTimeout(() => child.kill('SIGKILL'), isReady ? silenceMsMax(hangMsMax) : startMsMax)
    silence.unref()
  }
  const end = () => {
    if (isEnded) return
    isEnded = true
    clearTimeout(silence)
    setEnded()
    onEnd(turn, isReady ? null : complaint.trim() || 'it ended')
  }
  child.on('message', (message) => {
    if (!isAnswer(message)) return
    if (message.kind === 'ready') isReady = true
    if (message.kind === 'ready' || message.kind === 'alive') return listen()
    asked = null
    listen()
    onAnswer(message)
  })
  child.on('error', (error) => {
    complaint += error.message
    if (child.pid === undefined) end()
  })
  // Not `exit`, before which it may not have been heard to the end.
  child.on('close', end)
  let line = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    const lines = (line + text).split('\n')
    line = lines.pop() ?? ''
    const last = lines.at(-1)
    if (last !== undefined) turn = Number(last)
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(0, complaintCharactersMax)
  })

  return {
    ask(question) {
      asked = question
      listen()
      // Where it has just died, that is told, and it is asked again.
      if (child.connected) child.send(question, () => {})
    },
    setBusy: (isBusy) => setReferenced(child, isBusy),
    end() {
      child.kill('SIGKILL')
      return ended
    },
  }
}

function setReferenced(child: ChildProcess, isReferenced: boolean): void {
  const how = isReferenced ? 'ref' : 'unref'
  child[how]()
  child.channel?.[how]()
  for (const stream of [child.stdout, child.stderr]) if (stream instanceof Socket) stream[how]()
}

function isAnswer(message: unknown): message is Answer {
  return typeof message === 'object' && message !== null && 'kind' in message
}
