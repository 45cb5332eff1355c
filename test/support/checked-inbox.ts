// One user as the servers have it and as the model does: everything is done to both, and `check` compares them.
import { expect, vi } from 'vitest'
import { CheckedStream, type CheckedStreamOptions } from './checked-stream.ts'
import { counterFields, InboxDevice, type NotificationData, notificationFields, toHeld } from './inbox-device.ts'
import { type Held, InboxModel, type MarkName, type Row } from './inbox-model.ts'
import { request, tokenFor } from './server.ts'

/** What is to be done to an inbox. A `Pick` stands for one of however many there are. */
type Pick = number

export interface Sending {
  /** At which instance; single ones, at the same moment, at each in turn. */
  at: Pick
  count: number
  isBatch: boolean
}

export type Change =
  | { kind: 'ids'; mark: MarkName; ids: Pick[] }
  | { kind: 'upTo'; mark: MarkName; upTo: Pick; after: Pick | null }
  | { kind: 'retract'; which: Pick }

export type Action =
  | { type: 'connect'; at: Pick; isArgument: boolean; isInbox: boolean; after: Pick | 'start' | null }
  | { type: 'drop'; which: Pick }
  | { type: 'resume'; at: Pick; isArgument: boolean; which: Pick }
  | { type: 'send'; sending: Sending }
  | { type: 'change'; at: Pick; change: Change }
  /** At the same moment. What is sent is none of those that change, so the outcome is the same in any order. */
  | { type: 'both'; at: Pick; sending: Sending; change: Change }
  /** Waits for what is under way, and compares. */
  | { type: 'settle' }

type Only<Type extends Action['type']> = Extract<Action, { type: Type }>

/** Each a request of its own; more are sent as a batch. */
const singleSendsMax = 8
const historyPage = 100
const streamsMax = 6
/** For the folding of what has arrived, and what was not waited for. */
const foldMs = 10_000

export interface CheckedInboxOptions {
  /** Of the servers. */
  urls: string[]
  userId: string
  /** That may send. */
  service: string
}

export async function createCheckedInbox(options: CheckedInboxOptions): Promise<CheckedInbox> {
  const token = await tokenFor(options.userId)
  const inbox = new CheckedInbox(options, token)
  await inbox.begin()
  return inbox
}

class CheckedInbox {
  readonly #options: CheckedInboxOptions
  readonly #token: string
  readonly #model = new InboxModel()
  readonly #streams: CheckedStream[] = []
  #open: CheckedStream[] = []
  /** Those that did not come back, each with the head of the log when it went. */
  #dropped: { stream: CheckedStream; head: number }[] = []
  /** The cursor before the first one. */
  #start = ''

  constructor(options: CheckedInboxOptions, token: string) {
    this.#options = options
    this.#token = token
  }

  async begin(): Promise<void> {
    this.#start = (await this.#ask<{ inbox: { headCursor: string } }>(0, '{ inbox { headCursor } }')).inbox.headCursor
  }

  async perform(action: Action): Promise<void> {
    if (action.type === 'connect') this.#connect(action)
    if (action.type === 'drop') this.#drop(action)
    if (action.type === 'resume') this.#resume(action)
    if (action.type === 'send') await this.#send(action.sending)
    if (action.type === 'change') await this.#change(action)
    if (action.type === 'both') await Promise.all([this.#change(action), this.#send(action.sending)])
    if (action.type === 'settle') await this.#settle()
  }

  async check(): Promise<void> {
    await this.#settle()
    expect((await this.#history()).map(toHeld).reverse()).toEqual(this.#held)
    expect(await this.#ask(1, `{ inbox { ${counterFields} } }`)).toEqual({ inbox: this.#model.counters })
    // Streams are in order: with one more, all before it has arrived or never will.
    await this.#send({ at: 0, count: 1, isBatch: false })
    await this.#settle()
    for (const stream of this.#streams) stream.check()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stream of this.#open) stream.drop()
    for (const { device } of this.#streams) await device?.settled()
  }

  /** Waits until the streams have what they must, and the devices all that the model has. */
  async #settle(): Promise<void> {
    await Promise.all(this.#open.map((stream) => stream.settle()))
    const { counters } = this.#model
    const held = this.#held
    for (const device of this.#open.flatMap(({ device }) => device ?? [])) {
      await vi.waitFor(
        async () => {
          await device.settled()
          expect({ held: device.held, counters: device.counters }).toEqual({ held, counters })
        },
        { timeout: foldMs, interval: 5 },
      )
    }
  }

  get #held(): Held[] {
    return this.#model.visible.map(({ cursor: _, isRetracted: __, ...held }) => held)
  }

  #connect({ isInbox, after, ...how }: Only<'connect'>): void {
    const row = typeof after === 'number' ? this.#model.pick(after) : undefined
    const afterSeq = row?.seq ?? 0
    const isDue = ({ seq, delivered }: Row) => (after === null ? !delivered : seq > afterSeq)
    this.#listen({
      ...how,
      afterSeq,
      after: after === null ? null : (row?.cursor ?? this.#start),
      device: isInbox ? new InboxDevice(() => this.#history()) : undefined,
      must: this.#model.visible.filter(isDue),
      may: [],
    })
  }

  #drop({ which }: Only<'drop'>): void {
    const stream = this.#open[which % this.#open.length]
    if (!stream) return
    stream.drop()
    this.#open = this.#open.filter((other) => other !== stream)
    this.#dropped.push({ stream, head: this.#model.head })
  }

  #resume({ which, ...how }: Only<'resume'>): void {
    const one = this.#dropped[which % this.#dropped.length]
    if (!one) return
    this.#dropped = this.#dropped.filter((other) => other !== one)
    const { cursor: after, device, seq: afterSeq } = one.stream
    const due = this.#model.visible.filter(({ seq, delivered }) => (after === null ? !delivered : seq > afterSeq))
    // The cursor of an inbox event may lie behind what a replay left out because it had been delivered.
    const mayLieBefore = (row: Row) => device !== undefined && row.seq <= one.head && !one.stream.owes(row)
    const must = due.filter((row) => !mayLieBefore(row))
    this.#listen({ ...how, after, afterSeq, device, must, may: due.filter(mayLieBefore) })
  }

  #listen({ at, ...options }: Omit<CheckedStreamOptions, 'url' | 'token'> & { at: Pick }): void {
    if (this.#open.length === streamsMax) return
    const stream = new CheckedStream({ ...options, url: this.#url(at), token: this.#token })
    this.#streams.push(stream)
    this.#open.push(stream)
  }

  async #send({ at, count, isBatch }: Sending): Promise<void> {
    const inputs = Array.from({ length: count }, () => ({ userId: this.#options.userId, title: 'Hello' }))
    const sent =
      isBatch || count > singleSendsMax
        ? await this.#sendBatch(at, inputs)
        : await Promise.all(inputs.map((input, index) => this.#sendOne(at + index, input)))
    const rows = this.#model.append(sent.sort((one, other) => one.seq - other.seq))
    for (const stream of this.#open) stream.sent(rows)
  }

  async #sendOne(at: Pick, input: object): Promise<SentNotification> {
    const mutation = `mutation ($input: SendNotificationInput!) {
      sendNotification(input: $input) { notification { id seq cursor } } }`
    const { service } = this.#options
    const data = await this.#ask<{ sendNotification: Sent }>(at, mutation, { input }, service)
    return data.sendNotification.notification
  }

  async #sendBatch(at: Pick, inputs: object[]): Promise<SentNotification[]> {
    const mutation = `mutation ($inputs: [SendNotificationInput!]!) {
      sendNotifications(inputs: $inputs) { payload { notification { id seq cursor } } } }`
    const { service } = this.#options
    const data = await this.#ask<{ sendNotifications: { payload: Sent }[] }>(at, mutation, { inputs }, service)
    return data.sendNotifications.map(({ payload }) => payload.notification)
  }

  /** The model first, so that what is sent at the same moment is left alone. */
  async #change({ at, change }: { at: Pick; change: Change }): Promise<void> {
    if (change.kind === 'retract') return this.#retract(at, change.which)
    if (change.kind === 'ids') {
      const ids = change.ids.flatMap((which) => this.#model.pick(which)?.id ?? [])
      const count = this.#mark(change.mark, ({ id }) => ids.includes(id))
      const document = `mutation ($ids: [ID!]!) { marked: ${change.mark}(ids: $ids) { count } }`
      expect(await this.#ask(at, document, { ids })).toEqual({ marked: { count } })
      return
    }
    const upTo = this.#model.pick(change.upTo)
    const after = change.after === null ? undefined : this.#model.pick(change.after)
    const count = this.#mark(change.mark, ({ seq }) => seq <= (upTo?.seq ?? 0) && seq > (after?.seq ?? 0))
    const document = `mutation ($upTo: String!, $after: String) {
      marked: ${change.mark}(upTo: $upTo, after: $after) { count } }`
    const variables = { upTo: upTo?.cursor ?? this.#start, after: after?.cursor }
    expect(await this.#ask(at, document, variables)).toEqual({ marked: { count } })
  }

  #mark(mark: MarkName, isChosen: (row: Row) => boolean): number {
    const changed = this.#model.mark(mark, isChosen)
    for (const stream of this.#open) stream.acknowledging(changed.filter(({ delivered }) => delivered))
    return changed.length
  }

  async #retract(at: Pick, which: Pick): Promise<void> {
    const row = this.#model.pick(which)
    if (!row) return
    for (const stream of this.#open) stream.retracting([row])
    const wasThere = this.#model.retract(row)
    const document = 'mutation ($id: ID!) { retractNotification(id: $id) }'
    const data = await this.#ask(at, document, { id: row.id }, this.#options.service)
    expect(data).toEqual({ retractNotification: wasThere })
  }

  /** All of it, newest first, archived ones too. */
  async #history(): Promise<NotificationData[]> {
    const document = `query ($after: String) { history(first: ${historyPage}, after: $after, filter: { archived: null }) {
      nodes { ${notificationFields} } pageInfo { hasNextPage endCursor } } }`
    const found: NotificationData[] = []
    for (let after: string | null = null; ; ) {
      const { history }: { history: HistoryPage } = await this.#ask(0, document, { after })
      found.push(...history.nodes)
      if (!history.pageInfo.hasNextPage) return found
      after = history.pageInfo.endCursor
    }
  }

  async #ask<Data>(at: Pick, document: string, variables = {}, token = this.#token): Promise<Data> {
    const { data, errors } = await request<Data>(this.#url(at), token, document, variables)
    if (!data) throw new Error(JSON.stringify(errors))
    return data
  }

  #url(at: Pick): string {
    const { urls } = this.#options
    return urls[at % urls.length] ?? ''
  }
}

type SentNotification = { id: string; seq: number; cursor: string }
type Sent = { notification: SentNotification }

interface HistoryPage {
  nodes: NotificationData[]
  pageInfo: { hasNextPage: boolean; endCursor: string | null }
}
