// One stream of a user under test, and what it has to yield: told what happens to the log, it knows what must arrive and
// what may, since what changes while it is on its way can arrive in the old state or not at all.
import { expect, vi } from 'vitest'
import {
  type InboxDevice,
  type InboxEventData,
  inboxEventsQuery,
  type NotificationData,
  notificationFields,
} from './inbox-device.ts'
import type { Row } from './inbox-model.ts'
import { Subscriber } from './subscriber.ts'

interface StreamData {
  notifications?: NotificationData
  inboxEvents?: InboxEventData
}

export interface CheckedStreamOptions {
  url: string
  token: string
  /** Where it goes on; null: before the first undelivered one. */
  after: string | null
  /** The seq there, as far as one can tell. */
  afterSeq: number
  /** Whether the cursor is an argument of the operation, or in `connectionParams`. */
  isArgument: boolean
  /** With it, the stream is that of inbox events, which the device folds. */
  device: InboxDevice | undefined
  must: Row[]
  may: Row[]
}

const notificationsQuery = `subscription ($after: String) { notifications(after: $after) { ${notificationFields} } }`
/** For what is under way to arrive. */
const arrivalMs = 10_000

export class CheckedStream {
  /** The newest that it has. */
  cursor: string | null
  readonly device: InboxDevice | undefined
  readonly #subscriber: Subscriber<StreamData>
  readonly #seqs: number[] = []
  readonly #afterSeq: number
  readonly #must: Set<number>
  readonly #may: Set<number>
  /** What is acknowledged from now on comes all the same: it has begun, or it goes by its cursor alone. */
  #isLive: boolean
  #isCaughtUp = false

  constructor({ url, token, after, afterSeq, isArgument, device, must, may }: CheckedStreamOptions) {
    this.cursor = after
    this.device = device
    this.#afterSeq = afterSeq
    this.#must = new Set(must.map(({ seq }) => seq))
    this.#may = new Set(may.map(({ seq }) => seq))
    this.#isLive = after !== null
    this.#subscriber = new Subscriber(url, {
      token,
      query: device ? inboxEventsQuery : notificationsQuery,
      ...(isArgument ? { variables: { after } } : { after }),
      onData: (data) => this.#take(data),
    })
  }

  /** Where it is: of the newest that it received. */
  get seq(): number {
    return this.#seqs.at(-1) ?? this.#afterSeq
  }

  #take({ notifications, inboxEvents }: StreamData): void {
    const received = notifications ?? inboxEvents?.notification
    if (received) this.#seqs.push(received.seq)
    if (inboxEvents) this.device?.fold(inboxEvents)
    if (inboxEvents?.__typename === 'CaughtUp') this.#isCaughtUp = true
    this.cursor = (notifications ?? inboxEvents)?.cursor ?? this.cursor
  }

  /** These were sent. */
  sent(rows: readonly Row[]): void {
    for (const { seq } of rows) this.#must.add(seq)
  }

  /** These are being acknowledged, or were: a replay without a cursor may leave them out. */
  acknowledging(rows: readonly Row[]): void {
    if (!this.#isLive) this.retracting(rows)
  }

  /** These are being retracted. */
  retracting(rows: readonly Row[]): void {
    for (const { seq } of rows) {
      if (this.#must.has(seq) && !this.#seqs.includes(seq) && this.#must.delete(seq)) this.#may.add(seq)
    }
  }

  /** Whether it had to yield this one, or has. */
  owes({ seq }: Row): boolean {
    return this.#must.has(seq)
  }

  /** Waits until all that must arrive has. */
  async settle(): Promise<void> {
    await vi.waitFor(
      () => {
        const received = new Set(this.#seqs)
        const missing = [...this.#must].filter((seq) => !received.has(seq))
        expect({ failure: this.#subscriber.failure, missing }).toEqual({ failure: undefined, missing: [] })
        if (this.device) expect(this.#isCaughtUp).toBe(true)
      },
      { timeout: arrivalMs, interval: 5 },
    )
    this.#isLive ||= this.#isCaughtUp || this.#seqs.length > 0
  }

  /** That it yielded in order, none twice, nothing that it should not, and nothing was missing in between. */
  check(): void {
    const received = new Set(this.#seqs)
    expect(this.#seqs).toEqual([...received].sort((a, b) => a - b))
    expect(this.#seqs.filter((seq) => !this.#must.has(seq) && !this.#may.has(seq))).toEqual([])
    expect([...this.#must].filter((seq) => seq <= this.seq && !received.has(seq))).toEqual([])
  }

  drop(): void {
    this.#subscriber.drop()
  }
}
