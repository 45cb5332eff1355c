// Users who read while services send to them, and the comparison of the two afterwards, as sets. Whatever is done to the
// fleet meanwhile, nothing of it may show.
import { setTimeout as sleep } from 'node:timers/promises'
import { createReleases } from '../../../src/releases.ts'
import { tokenFor } from '../../support/server.ts'
import type { Postgres } from './postgres.ts'
import { Reader, type ReaderOptions } from './reader.ts'
import { type Accepted, post, type WriterOptions, Writers } from './writers.ts'

/** What may be wrong. Each list is empty, or a case has failed. */
export interface Verdict {
  /** Accepted, neither expired nor retracted, and not received by a reader of its user. */
  lost: string[]
  /** Received, and never sent; or received by who connects at the end, though it has expired or was retracted. */
  unexpected: string[]
  /** Received twice on one stream, or one more time after a reconnect with a cursor. */
  duplicates: string[]
  /** Received before one with a lower seq. */
  inversions: string[]
  /** Logs whose numbers are not 1, 2, 3, …, or whose times do not order as they do; keys that were appended twice. */
  holes: string[]
  /** Of another user. */
  foreign: string[]
  /** Acknowledged, though no reader had it. */
  unread: string[]
  /** Anything else: a server that ended or logged an error, a send that was refused, a stream that was ended for good. */
  defects: string[]
}

export const flawless: Verdict = {
  lost: [],
  unexpected: [],
  duplicates: [],
  inversions: [],
  holes: [],
  foreign: [],
  unread: [],
  defects: [],
}

/** What it needs of a fleet. */
export interface Tested {
  readonly instances: readonly { readonly url: string; readonly defects: readonly string[] }[]
  instance(place: number): { readonly url: string }
  readonly postgres: Pick<Postgres, 'query'>
}

export interface WorkloadOptions extends Partial<Omit<WriterOptions, 'userIds'>> {
  fleet: Tested
  /** Default 10. */
  users?: number
  /** What each user has connected. Default: a stream of notifications over WebSocket and one of inbox events over SSE. */
  readers?: readonly Partial<ReaderOptions>[]
  /** Which instances readers connect to, by place; default: all, in turn. */
  readFrom?: readonly number[]
  /** Likewise of senders. */
  sendTo?: readonly number[]
  /** Of this machine, where the connections of readers come from, in turn. */
  localAddresses?: readonly string[]
}

const defaultReaders: readonly Partial<ReaderOptions>[] = [
  { kind: 'notifications' },
  { kind: 'inboxEvents', transport: 'sse' },
]
const connectMsMax = 20_000
/** Users who begin to connect at a time: a crowd is what a case brings about when it means to. */
const connectUsersMax = 100
/** Of two clocks that one machine reads one after the other. */
const sameMomentMs = 50
const pollMs = 20
const caughtUpMsMax = 10_000
/** Of each list in a verdict; what is wrong shows in a few. */
const namedMax = 5
let workloads = 0

export class Workload implements AsyncDisposable {
  readonly userIds: string[]
  readonly readers: Reader[]
  readonly writers: Writers
  readonly #fleet: Tested
  readonly #releases = createReleases()

  /** Sends begin as soon as every reader is subscribed. */
  static async start(options: WorkloadOptions): Promise<Workload> {
    const { fleet, users = 10, readers = defaultReaders, readFrom, sendTo, localAddresses = [] } = options
    const sign = options.tokenFor ?? tokenFor
    const run = ++workloads
    const userIds = Array.from({ length: users }, (_, index) => `user-${run}-${index}`)
    const inTurn = (places: readonly number[] = fleet.instances.map((_, place) => place)) => {
      let turn = 0
      return () => fleet.instance(places[turn++ % places.length] ?? 0).url
    }
    const nextUrl = inTurn(readFrom)
    const connect = async (userId: string, index: number) => {
      const token = await sign(userId)
      // Or one that is cut off before its first notification would miss what another has acknowledged.
      const isGiven = readers.every(({ after }) => after !== undefined)
      const after = isGiven ? null : await headCursor(nextUrl(), token)
      const localAddress = localAddresses[index % localAddresses.length]
      return readers.map(
        (some) => new Reader({ userId, token, after, nextUrl, ...(localAddress && { localAddress }), ...some }),
      )
    }
    const all: Reader[] = []
    for (let first = 0; first < users; first += connectUsersMax) {
      const some = await Promise.all(userIds.slice(first, first + connectUsersMax).map(connect))
      all.push(...some.flat())
    }
    const giveUpAt = performance.now() + connectMsMax
    while (!all.every(({ isConnected }) => isConnected)) {
      if (performance.now() > giveUpAt) throw new Error('the readers could not connect')
      await sleep(pollMs)
    }
    const { perSecond = 100, underWayMax, input, requestMsMax, withdrawOneOf } = options
    const writers = new Writers({
      userIds,
      nextUrl: inTurn(sendTo),
      perSecond,
      ...(underWayMax !== undefined && { underWayMax }),
      ...(input !== undefined && { input }),
      ...(requestMsMax !== undefined && { requestMsMax }),
      ...(withdrawOneOf !== undefined && { withdrawOneOf }),
      tokenFor: sign,
    })
    return new Workload(fleet, userIds, all, writers)
  }

  private constructor(fleet: Tested, userIds: string[], readers: Reader[], writers: Writers) {
    this.#fleet = fleet
    this.userIds = userIds
    this.readers = readers
    this.writers = writers
    for (const reader of readers) this.#releases.push(() => reader.close())
    this.#releases.push(() => writers.abandon())
  }

  /** Ends the sends, waits until each reader has what was accepted, `msMax` at most, and compares. */
  async verdict(msMax = 15_000): Promise<Verdict> {
    await this.writers.stop()
    const missing = await this.#settle(msMax)
    const { accepted, attempted } = this.writers
    const bySeq = new Map(accepted.map(({ title, seq }) => [title, seq]))
    const kept = (prefix: string) =>
      this.readers.flatMap(({ defects }) => defects.filter((defect) => defect.startsWith(prefix)))
    const received = this.readers.flatMap(({ received }) => received)
    const verdict: Verdict = {
      lost: missing,
      unexpected: [
        ...received.flatMap(({ title, seq }) => {
          const sent = bySeq.get(title)
          if (!attempted.has(title)) return [`${title} was never sent`]
          return sent === undefined || sent === seq ? [] : [`${title} was received as ${seq} and accepted as ${sent}`]
        }),
        ...(await this.#withdrawnAndReplayed()),
      ],
      duplicates: kept('twice'),
      inversions: kept('out of order'),
      foreign: kept('foreign'),
      holes: await this.#holes(),
      unread: await this.#acknowledgedUnread(),
      defects: [
        ...kept('not an event'),
        ...this.writers.defects,
        ...this.readers.flatMap(({ finals, userId }) => finals.map((code) => `a stream of ${userId} ended: ${code}`)),
        ...this.#fleet.instances.flatMap(({ defects }) => defects),
      ],
    }
    return mapValues(verdict, (list) => named(list))
  }

  /**
   * How long after it was accepted each notification reached each reader, in ms, ascending; of those that were accepted
   * between two moments by `performance.now()`.
   */
  latencies(from = 0, until = Number.POSITIVE_INFINITY): number[] {
    return this.deliveries()
      .flatMap(({ acceptedAt, ms }) => (acceptedAt >= from && acceptedAt < until ? [ms] : []))
      .sort((a, b) => a - b)
  }

  /** Of each notification, to each reader: when it was accepted, by `performance.now()`, and how long it took. */
  deliveries(): { acceptedAt: number; ms: number }[] {
    const acceptedAt = new Map(this.writers.accepted.map((one) => [one.title, one.acceptedAt]))
    return this.readers.flatMap(({ received, receivedAt }) =>
      received.flatMap(({ title }, index) => {
        const at = acceptedAt.get(title)
        // The doorbell may be heard before the sender has its answer.
        return at === undefined ? [] : [{ acceptedAt: at, ms: Math.max(0, (receivedAt[index] ?? 0) - at) }]
      }),
    )
  }

  /** When the last reader got the last of what was accepted before `until`, by `performance.now()`. */
  caughtUpAt(until: number): number {
    const wanted = new Set(this.writers.accepted.filter((one) => one.acceptedAt < until).map(({ title }) => title))
    let last = 0
    for (const { received, receivedAt } of this.readers) {
      for (const [index, { title }] of received.entries()) {
        if (wanted.has(title)) last = Math.max(last, receivedAt[index] ?? 0)
      }
    }
    return last
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#releases.run()
  }

  async #settle(msMax: number): Promise<string[]> {
    const byUser = new Map<string, Accepted[]>(this.userIds.map((userId) => [userId, []]))
    for (const accepted of this.writers.accepted) {
      if (!this.writers.withdrawn.has(accepted.title)) byUser.get(accepted.userId)?.push(accepted)
    }
    const giveUpAt = performance.now() + msMax
    let waiting = this.readers
    for (;;) {
      waiting = waiting.filter((reader) => byUser.get(reader.userId)?.some(({ title }) => !reader.has(title)))
      if (waiting.length === 0) return []
      if (performance.now() > giveUpAt) break
      await sleep(pollMs)
    }
    return waiting.flatMap((reader) =>
      (byUser.get(reader.userId) ?? [])
        .filter(({ title }) => !reader.has(title))
        .map(({ title, seq }) => `${title} (${seq}), by ${reader.options.kind ?? 'notifications'}`),
    )
  }

  /** What was taken back and comes all the same to a client that reads the log again, from its first event on. */
  async #withdrawnAndReplayed(): Promise<string[]> {
    const { withdrawn, expiresAt } = this.writers
    if (withdrawn.size === 0) return []
    // Two clocks: that of PostgreSQL says when.
    await sleep(Math.max(0, expiresAt + sameMomentMs - performance.now()))
    const users = new Map(this.readers.map((reader) => [reader.userId, reader]))
    const replayed = await Promise.all(
      [...users.values()].map(async ({ firstCursor, options: { userId, token, nextUrl } }) => {
        using anew = new Reader({ userId, token, nextUrl, kind: 'inboxEvents', after: firstCursor })
        const giveUpAt = performance.now() + caughtUpMsMax
        while (anew.caughtUpAt === undefined) {
          if (performance.now() > giveUpAt) return [`a new stream of ${userId} did not catch up`]
          await sleep(pollMs)
        }
        return anew.received.flatMap(({ title }) => (withdrawn.has(title) ? [`${title} was taken back`] : []))
      }),
    )
    return replayed.flat()
  }

  async #holes(): Promise<string[]> {
    const rows = await this.#fleet.postgres.query<{ hole: string }>(
      `with own as (select * from notifications where user_id = any($1)),
      logs as (select user_id, count(*) as many, min(seq) as first, max(seq) as last from own group by user_id)
      select 'the log of ' || user_id || ' has ' || many || ' from ' || first || ' to ' || last || ', its head is ' || last_seq as hole
        from logs join inboxes using (user_id) where many <> last_seq or first <> 1 or last <> last_seq
      union all select 'in the log of ' || user_id || ' ' || seq || ' is older than the one before' from (
        select user_id, seq, created_at < lag(created_at) over (partition by user_id order by seq) as older from own) o where older
      union all select title || ' was appended ' || count(*) || ' times' from own group by title having count(*) > 1`,
      [this.userIds],
    )
    return rows.map(({ hole }) => hole)
  }

  /**
   * What was acknowledged before a reader that acknowledges had it: one with `autoAck`, or any where none of the user's has
   * that and a test acknowledges.
   */
  async #acknowledgedUnread(): Promise<string[]> {
    const rows = await this.#fleet.postgres.query<{ userId: string; title: string; age: number }>(
      `select user_id as "userId", title, extract(epoch from clock_timestamp() - delivered_at)::float8 * 1000 as age
      from notifications where user_id = any($1) and delivered_at is not null`,
      [this.userIds],
    )
    const now = performance.now()
    const receivedAt = new Map(this.userIds.map((userId) => [userId, this.#firstReceived(userId)]))
    return rows.flatMap(({ userId, title, age }) => {
      const at = receivedAt.get(userId)?.get(title)
      if (at === undefined) return [title]
      const earlyMs = at - (now - age)
      return earlyMs > sameMomentMs ? [`${title}, ${Math.round(earlyMs)} ms early`] : []
    })
  }

  /** When those who acknowledge first had each title. */
  #firstReceived(userId: string): Map<string, number> {
    const all = this.readers.filter((reader) => reader.userId === userId)
    const acknowledging = all.filter(({ options }) => options.autoAck === true)
    const first = new Map<string, number>()
    for (const { received, receivedAt } of acknowledging.length > 0 ? acknowledging : all) {
      for (const [index, { title }] of received.entries()) {
        first.set(title, Math.min(first.get(title) ?? Number.POSITIVE_INFINITY, receivedAt[index] ?? 0))
      }
    }
    return first
  }
}

async function headCursor(url: string, token: string): Promise<string> {
  const { data } = await post<{ inbox: { headCursor: string } }>(url, token, '{ inbox { headCursor } }', {}, 10_000)
  if (!data) throw new Error('an inbox could not be read')
  return data.inbox.headCursor
}

/** Of ascending numbers, the one that this share of them is not above. */
export function quantile(ascending: readonly number[], share: number): number {
  return ascending[Math.min(ascending.length - 1, Math.floor(ascending.length * share))] ?? 0
}

function named(list: string[]): string[] {
  return list.length > namedMax ? [...list.slice(0, namedMax), `and ${list.length - namedMax} more`] : list
}

function mapValues(verdict: Verdict, map: (list: string[]) => string[]): Verdict {
  const { lost, unexpected, duplicates, inversions, holes, foreign, unread, defects } = verdict
  return {
    lost: map(lost),
    unexpected: map(unexpected),
    duplicates: map(duplicates),
    inversions: map(inversions),
    holes: map(holes),
    foreign: map(foreign),
    unread: map(unread),
    defects: map(defects),
  }
}
