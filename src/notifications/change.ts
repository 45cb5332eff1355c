// The statement by which states change: marks, retraction, expiry and retention are one and the same, with other rows
// and other columns. It keeps the counters exact, whatever runs beside it, and holds no lock once it has answered.
//
//   candidate  finds the rows in the statement's snapshot, holding nothing: a long search stalls nobody
//   box        locks the inboxes, in ascending order; from here on nobody else changes these rows
//   held       takes the time, so after the locks: what retention has subtracted before is older than its cutoff
//   locked     looks at each row again, in its newest version, and says what it takes off the counters
//   changed    changes the rows, and `updated` their inboxes
//
// Each reads the one before, and that alone orders them. See marks.ts, retract.ts, sweep.ts.
import { inboxColumns, notificationColumns } from './rows.ts'

/** What a row n takes off each counter, as of before the change. */
export interface Takes {
  undelivered: string
  unseen: string
  unread: string
}

export interface Change {
  /** Common table expressions for the others to use, without a comma at the end. */
  first: string
  /** A query for the keys of the rows: user_id, created_at, seq. */
  candidate: string
  /** Which inboxes b to lock; by default those of the candidates. */
  lock?: string
  /** Whether to leave alone, with their rows, those that somebody else has locked, instead of waiting. */
  skipLocked?: boolean
  /** Whether a row n, in its newest version, is one to change. */
  open: string
  /** How a row changes. */
  set: string
  takes: Takes
  /** Whether a row n, as of before the change, was there for its user to see; by default each was. */
  shown?: string
  /** More to set in each inbox b that was locked. */
  watermark?: string
  /** The query at the end, over `changed`, `updated` and what `first` has. */
  result: string
}

/** $1 is the retention time in milliseconds. */
export function changeStatement({ first, candidate, open, set, takes, result, ...change }: Change): string {
  const {
    lock = 'b.user_id in (select user_id from candidate)',
    shown = 'true',
    skipLocked = false,
    watermark,
  } = change
  return `with ${first},
    candidate as materialized (${candidate}),
    ${lockInboxes(lock, skipLocked)},
    ${lockRows(open, takes, shown)},
    changed as (
      update notifications n set ${set} from locked l
      where ${isRow('l')}
      returning l.shown, ${notificationColumns}),
    ${updateInboxes(watermark)}
    ${result}`
}

/**
 * That n is the row with this key. As plain equality would be, but for two reasons: the user by `any`, since a hash join
 * would read the whole log to find a few hundred rows of it; the rest as two comparisons of pairs, by which no partitions
 * are pruned while the statement runs. PostgreSQL 18.4 crashes where it prunes so after it has looked at a row again that
 * changed under it, which here is every contended statement.
 */
const isRow = (key: string) => `n.user_id = any (array[${key}.user_id])
        and (n.created_at, n.seq) >= (${key}.created_at, ${key}.seq)
        and (n.created_at, n.seq) <= (${key}.created_at, ${key}.seq)`

/** The part that locks inboxes, and takes the time once it has them all. */
export const lockInboxes = (lock: string, skipLocked = false) => `box as materialized (
      select b.user_id from inboxes b where ${lock} order by b.user_id for update ${skipLocked ? 'skip locked' : ''}),
    held as materialized (
      select clock_timestamp() - $1::float8 * interval '1 millisecond' as cutoff
      from (select count(*) as boxes from box) b where boxes > 0)`

/** The part that locks the rows of `candidate`. Lateral, so that each is found by its key, however many are expected. */
export const lockRows = (open: string, takes: Takes, shown: string) => `locked as materialized (
      select n.* from candidate c join box b on b.user_id = c.user_id cross join lateral (
        select n.user_id, n.created_at, n.seq, ${shown} as shown, ${takes.undelivered} as undelivered,
          ${takes.unseen} as unseen, ${takes.unread} as unread
        from notifications n
        where ${isRow('c')}
          and (select true from held) and ${open}
        for update of n) n)`

/** The part that subtracts what the rows take, and bumps the state version of each inbox that had one to see. */
export const updateInboxes = (watermark?: string) => `updated as (
      update inboxes b set
        undelivered = b.undelivered - coalesce(t.undelivered, 0), unseen = b.unseen - coalesce(t.unseen, 0),
        unread = b.unread - coalesce(t.unread, 0), state_version = b.state_version + (t.user_id is not null)::int
        ${watermark ? `, ${watermark}` : ''}
      from box left join (
        select user_id, sum(undelivered)::int as undelivered, sum(unseen)::int as unseen, sum(unread)::int as unread
        from locked where shown group by user_id) t using (user_id)
      where b.user_id = box.user_id ${watermark ? '' : 'and t.user_id is not null'}
      returning b.user_id, ${inboxColumns})`

/** For `open` where a user changes a row: it is still there, and neither expiry nor retention has subtracted it. */
export const stillThere = `n.retracted_at is null and not n.swept
          and n.created_at - (select cutoff from held) > interval '0'`

/** What a notification that goes takes off the counters, which an archived one is in no longer. */
export const takesAll: Takes = {
  undelivered: '(n.archived_at is null and n.delivered_at is null)::int',
  unseen: '(n.archived_at is null and n.seen_at is null)::int',
  unread: '(n.archived_at is null and n.read_at is null)::int',
}
