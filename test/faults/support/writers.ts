// Senders that number what they send, give each an idempotency key, and try again until it is accepted. Some of it they
// take back: it expires soon, or they retract it as soon as it is accepted.
import { setTimeout as sleep } from 'node:timers/promises'
import { type GraphqlResponse, tokenFor } from '../../support/server.ts'

export interface Accepted {
  id: string
  seq: number
  userId: string
  title: string
  /** By `performance.now()`. */
  acceptedAt: number
}

export interface WriterOptions {
  /** Whom to send to. */
  userIds: readonly string[]
  /** Where the next request goes. */
  nextUrl(): string
  /** Sends begun a second, however long the ones before take. */
  perSecond: number
  /** Sends under way at once, beyond which new ones wait. Default 1,000. */
  underWayMax?: number
  /** More of the input of each. */
  input?: Record<string, unknown>
  /** Default 30,000. */
  requestMsMax?: number
  /** Default: tokens signed now, and valid for an hour. */
  tokenFor?: typeof tokenFor
  /** One of so many is taken back: by turns it expires, or is retracted. Default: none. */
  withdrawOneOf?: number
}

/** Of what is to expire. */
export const expireMs = 1_500
const retryMinMs = 20
const retryMaxMs = 500
const tickMs = 10
/** Refused for any other reason, a send is not tried again. */
const retryable = new Set(['UNAVAILABLE', 'RATE_LIMITED'])

const retract = 'mutation ($id: ID!) { retractNotification(id: $id) }'
const mutation = `mutation ($input: SendNotificationInput!) {
  sendNotification(input: $input) { notification { id seq userId } duplicate }
}`

export class Writers {
  readonly options: WriterOptions
  /** By title. */
  readonly attempted = new Set<string>()
  readonly accepted: Accepted[] = []
  /** Titles of what expires, from when it is sent, and of what was retracted, from when that was begun. */
  readonly withdrawn = new Set<string>()
  /** Of each request that was accepted: by whom, when, and how long it took, in ms, without the attempts before it. */
  readonly requests: { url: string; acceptedAt: number; tookMs: number }[] = []
  /** How long each accepted send took in all, in ms, in the order of their answers. */
  readonly tookMs: number[] = []
  /** How long each single request took that failed, in ms. */
  readonly failedMs: number[] = []
  /** Answers by code; `network` is none at all. */
  readonly failures = new Map<string, number>()
  readonly defects: string[] = []
  /** Of the last that expires, by `performance.now()`. */
  expiresAt = 0
  readonly #token: Promise<string>
  #isRunning = true
  #isAbandoned = false
  #begun = 0
  #underWay = 0
  readonly #done: Promise<void>

  constructor(options: WriterOptions) {
    this.options = options
    this.#token = (options.tokenFor ?? tokenFor)('service', ['notifications:send', 'inbox:any'])
    this.#done = this.#run()
  }

  /** No new sends. Resolves when each that was begun is accepted. */
  async stop(): Promise<void> {
    this.#isRunning = false
    await this.#done
    while (this.#underWay > 0) await sleep(tickMs)
  }

  /** No new sends, and no more attempts at those that were begun: a case that failed leaves nobody who could accept them. */
  abandon(): void {
    this.#isRunning = false
    this.#isAbandoned = true
  }

  /** One more than the pace has, also when that is over. Resolves when it is accepted. */
  send(userId: string): Promise<void> {
    const number = this.#begun++
    const { withdrawOneOf = 0 } = this.options
    const title = `${userId}/${number}`
    if (withdrawOneOf === 0 || number % withdrawOneOf > 0) return this.#send(userId, title)
    return number % (2 * withdrawOneOf) > 0 ? this.#sendExpiring(userId, title) : this.#sendAndRetract(userId, title)
  }

  async #run(): Promise<void> {
    const { perSecond, userIds, underWayMax = 1_000 } = this.options
    await this.#token
    const startedAt = performance.now()
    let begun = 0
    let skipped = 0
    while (this.#isRunning) {
      const due = Math.floor(((performance.now() - startedAt) * perSecond) / 1_000) - skipped
      for (; begun < due && this.#isRunning; begun++) {
        if (this.#underWay >= underWayMax) {
          // The pace is kept, not the number: what could not begin in time is not made up for.
          skipped += due - begun
          break
        }
        void this.send(userIds[begun % userIds.length] ?? '')
      }
      await sleep(tickMs)
    }
  }

  #sendExpiring(userId: string, title: string): Promise<void> {
    this.withdrawn.add(title)
    this.expiresAt = performance.now() + expireMs
    return this.#send(userId, title, { expiresAt: new Date(Date.now() + expireMs).toISOString() })
  }

  async #sendAndRetract(userId: string, title: string): Promise<void> {
    // Until it is retracted there is something under way.
    this.#underWay += 1
    await this.#send(userId, title)
    const id = this.accepted.findLast((one) => one.title === title)?.id
    if (id !== undefined) {
      this.withdrawn.add(title)
      await this.#retract(id)
    }
    this.#underWay -= 1
  }

  async #retract(id: string): Promise<void> {
    const { nextUrl, requestMsMax = 30_000 } = this.options
    while (!this.#isAbandoned) {
      const answer = await post<object>(nextUrl(), await this.#token, retract, { id }, requestMsMax).catch(
        () => undefined,
      )
      if (answer?.data) return
      const code = answer?.errors?.[0]?.extensions.code
      if (answer && !(code && retryable.has(code))) {
        this.defects.push(`${id} was not retracted: ${JSON.stringify(answer)}`)
        return
      }
      await sleep(retryMaxMs)
    }
  }

  async #send(userId: string, title: string, more: object = {}): Promise<void> {
    const { nextUrl, input, requestMsMax = 30_000 } = this.options
    this.attempted.add(title)
    this.#underWay += 1
    const begunAt = performance.now()
    const token = await this.#token
    const variables = { input: { userId, title, idempotencyKey: title, ...input, ...more } }
    for (let delayMs = retryMinMs; ; delayMs = Math.min(delayMs * 2, retryMaxMs)) {
      const requestedAt = performance.now()
      const url = nextUrl()
      const answer = await post<SendData>(url, token, mutation, variables, requestMsMax).catch(() => undefined)
      const notification = answer?.data?.sendNotification.notification
      if (notification) {
        const acceptedAt = performance.now()
        this.accepted.push({ ...notification, title, acceptedAt })
        this.requests.push({ url, acceptedAt, tookMs: acceptedAt - requestedAt })
        this.tookMs.push(acceptedAt - begunAt)
        break
      }
      this.failedMs.push(performance.now() - requestedAt)
      const code = answer ? (answer.errors?.[0]?.extensions?.code ?? 'none') : 'network'
      // It has expired before anybody accepted it.
      if (code === 'BAD_USER_INPUT' && 'expiresAt' in more) break
      this.failures.set(code, (this.failures.get(code) ?? 0) + 1)
      if (answer && !retryable.has(code)) {
        this.defects.push(`${title} was refused: ${JSON.stringify(answer)}`)
        break
      }
      if (this.#isAbandoned) break
      await sleep(delayMs * (0.5 + Math.random() / 2))
    }
    this.#underWay -= 1
  }
}

interface SendData {
  sendNotification: { notification: { id: string; seq: number; userId: string } }
}

/** One operation over HTTP. Fails where there is no answer in time. */
export async function post<Data>(
  url: string,
  token: string,
  query: string,
  variables: object,
  msMax: number,
): Promise<Omit<GraphqlResponse<Data>, 'status'>> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify({ query, variables }),
    signal: AbortSignal.timeout(msMax),
  })
  return response.json()
}
