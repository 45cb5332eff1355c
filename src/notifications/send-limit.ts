// How many notifications one sender may send a minute, over all instances: a bucket of that many tokens, full at first,
// which refills evenly, a whole one in a minute (GCRA). The buckets are in the database (`send_rates`) and go by its clock
// alone. Sends that ask while a statement is under way share the next, whoever sends them. Used by: send.ts.
import { CarillonError } from '../errors.ts'
import type { Database } from '../postgres.ts'
import { withRetry } from '../retry.ts'

/** Senders of one statement: it holds their rows, which other instances may be waiting for. */
export const statementSendersMax = 500
/** Beyond it a send is refused with UNAVAILABLE: the database is not keeping up. */
export const waitingSendsMax = 20_000
/** When a statement has taken as long, and each time again, what waits behind it is UNAVAILABLE, and has taken no token. */
export const waitingMsMax = 5_000

export interface SendLimit {
  /**
   * Takes one token of the sender's. Resolves to 0, or, where there is none, to the milliseconds until one is free: 1 at
   * least. Of one sender's calls within one turn the first ones get what there is. Fails with UNAVAILABLE; nobody knows
   * then whether a token was taken.
   */
  take(sender: string): Promise<number>
}

export interface SendLimitOptions {
  database: Pick<Database, 'query'>
  /** 1 at least. */
  perMinute: number
}

interface Waiting {
  sender: string
  resolve(retryAfterMs: number): void
  reject(error: unknown): void
}

export function createSendLimit({ database, perMinute }: SendLimitOptions): SendLimit {
  let waiting: Waiting[] = []
  let isUnderWay = false

  return {
    take(sender) {
      if (waiting.length >= waitingSendsMax) return Promise.reject(notKeepingUp())
      return new Promise((resolve, reject) => {
        waiting.push({ sender, resolve, reject })
        if (isUnderWay) return
        isUnderWay = true
        // After this turn: the items of a batch must not be divided, or a later one might get what an earlier did not.
        queueMicrotask(() => void takeAll())
      })
    },
  }

  async function takeAll(): Promise<void> {
    while (waiting.length > 0) await takeGroup(nextGroup())
    isUnderWay = false
  }

  /** All of a sender, or none. */
  function nextGroup(): Group {
    const asked = new Map<string, number>()
    const group: Waiting[] = []
    const rest: Waiting[] = []
    for (const one of waiting) {
      const count = asked.get(one.sender) ?? 0
      if (count === 0 && asked.size === statementSendersMax) {
        rest.push(one)
      } else {
        asked.set(one.sender, count + 1)
        group.push(one)
      }
    }
    waiting = rest
    return { asked, group }
  }

  /** Settles each in the order in which they came, which to one user is that of their notifications. Never rejects. */
  async function takeGroup({ asked, group }: Group): Promise<void> {
    const late = setInterval(() => {
      const behind = waiting
      waiting = []
      rejectAll(behind, notKeepingUp())
    }, waitingMsMax)
    try {
      const values = [JSON.stringify([...asked].map(([s, n]) => ({ s, n }))), perMinute]
      const rows = await withRetry(() => database.query<TakenRow>('take-tokens', statement, values))
      const taken = new Map(rows.map((row) => [row.sender, row]))
      for (const { sender, resolve } of group) {
        const row = taken.get(sender) ?? missing(sender)
        resolve(row.granted-- > 0 ? 0 : row.retryAfterMs)
      }
    } catch (error) {
      rejectAll(group, error)
    } finally {
      clearInterval(late)
    }
  }
}

/** What goes into one statement, and how many of them are of which sender. */
interface Group {
  asked: Map<string, number>
  group: Waiting[]
}

function rejectAll(waiting: Waiting[], error: unknown): void {
  for (const { reject } of waiting) reject(error)
}

function notKeepingUp(): CarillonError {
  return new CarillonError('UNAVAILABLE', 'too many sends are waiting; try again later')
}

function missing(sender: string): never {
  throw new Error(`no row for the sender ${sender}`)
}

interface TakenRow {
  sender: string
  granted: number
  retryAfterMs: number
}

const minute = 60_000_000

/** Of so many tokens, in microseconds. Rounded up, so that no more than the rate is ever given out. */
const timeOf = (tokens: string) => `((${tokens}::bigint * ${minute} + $2::bigint - 1) / $2::bigint)`

// $1 the tokens asked for by sender, $2 the rate. In whole microseconds and whole numbers: a bucket has exactly the rate's
// tokens, where fractions would lose one now and then. `used` is what is missing from the bucket, as the time in which it
// comes back, a minute at most also where the clock was set back. Sorted in SQL, by the column's own collation: the lock
// order follows from it, and two orders would deadlock.
const statement = `
with asked as materialized (
  select s collate "C" as s, least(n, $2::bigint)::int as n from json_to_recordset($1::json) as (s text, n int)),
taken as (
  insert into send_rates as r (sender, full_at, granted)
  select s, now() + ${timeOf('n')} * interval '1 microsecond', n from asked order by s
  on conflict (sender) do update set (full_at, granted) = (
    select now() + (used + ${timeOf('tokens')}) * interval '1 microsecond', tokens from (
      select used, least(excluded.granted, (${minute} - used) * $2::bigint / ${minute})::int as tokens from (
        select least(greatest(extract(epoch from r.full_at - now()) * 1000000, 0), ${minute})::bigint as used) u) t)
  returning *)
select sender, granted, greatest(ceil(
  (extract(epoch from full_at - now()) * 1000000 - ${minute} + ${timeOf('1')}) / 1000), 1)::int as "retryAfterMs"
from taken`
