// Acknowledgements: marking notifications delivered, seen, read, unread, archived, by id or everything up to a cursor.
// Idempotent, the first time stands, and the counters change with the rows (marks.ts). What changed rings the user's
// other devices (doorbell.ts).
import type { Bus } from '../bus/bus.ts'
import { badUserInput } from '../errors.ts'
import type { Database } from '../postgres.ts'
import { withRetry } from '../retry.ts'
import { type Cursors, cursorInvalid } from './cursor.ts'
import { type Doorbell, type DoorbellNews, doorbellRowsMax } from './doorbell.ts'
import { type Mark, type MarkRow, markByIds, markRowsMax, markUpTo } from './marks.ts'
import type { InboxState, Notification, Position } from './notification.ts'
import { hasNotification, toInbox, toNotification } from './rows.ts'
import { isUuid } from './uuid.ts'

export type Selection =
  | { ids: readonly string[] }
  /** Everything at or before `upTo`, and behind `after` where that is there. */
  | { upTo: Place; after?: Place }

type Place = Position & { epoch: string }

export interface Acknowledged {
  /** How many this call changed. */
  count: number
  /** Those it changed, newest first, `doorbellRowsMax` at most. */
  notifications: Notification[]
  inbox: InboxState
}

/** Ids in one call, as the contract has it. */
export const idsMax = 1_000

/**
 * Marks what is visible to its user; the rest is ignored. Up to a cursor it takes a commit for each `markRowsMax` rows,
 * newest first. Fails with CURSOR_INVALID, having changed nothing, where a cursor is of another epoch, and with
 * UNAVAILABLE.
 */
export type Acknowledge = (userId: string, mark: Mark, selection: Selection) => Promise<Acknowledged>

export interface AcknowledgeOptions {
  database: Database
  bus: Bus<Doorbell>
  retentionMs: number
}

export function createAcknowledge({ database, bus, retentionMs }: AcknowledgeOptions): Acknowledge {
  async function* commits(userId: string, mark: Mark, selection: Selection): AsyncGenerator<Commit> {
    const commit = async (name: string, text: string, values: unknown[]) =>
      toCommit(userId, await withRetry(() => database.query<MarkRow>(name, text, [retentionMs, userId, ...values])))

    if ('ids' in selection) {
      yield commit(`mark-${mark}-by-ids`, markByIds[mark], [uuids(selection.ids)])
      return
    }
    const text = markUpTo[mark]
    if (!text) throw badUserInput(`${mark} goes by ids alone`)
    const { upTo, after } = selection
    if (after && after.epoch !== upTo.epoch) throw cursorInvalid()
    const stretch = [after?.createdAt ?? 0, after?.seq ?? 0, after ? null : upTo.createdAt, after ? null : upTo.seq]
    let next: Position | undefined = upTo
    while (next) {
      const values = [upTo.epoch, next.createdAt, next.seq, ...stretch]
      const done: Commit = await commit(`mark-${mark}-up-to`, text, values)
      if (done.inbox.epoch !== upTo.epoch) throw cursorInvalid()
      yield done
      next = done.next
    }
  }

  return async (userId, mark, selection) => {
    const changed = { count: 0, notifications: [] as Notification[] }
    let inbox: InboxState | undefined
    let ring: { inbox: InboxState; since: number } | undefined
    try {
      for await (const commit of commits(userId, mark, selection)) {
        inbox = commit.inbox
        if (commit.count === 0) continue
        changed.count += commit.count
        changed.notifications.push(...commit.notifications.slice(0, doorbellRowsMax - changed.notifications.length))
        ring = { inbox, since: ring?.since ?? inbox.stateVersion }
      }
    } finally {
      // Where a later commit failed too: those before it stand.
      if (ring) {
        const bumps = ring.inbox.stateVersion - ring.since + 1
        await bus.publish([{ userId, message: { inbox: ring.inbox, news: news(changed, bumps) } }])
      }
    }
    if (!inbox) throw new Error('a mark without a commit')
    return { ...changed, inbox }
  }
}

/** Several commits may have others' between them: "fetch again" covers those as well, rows would not. */
function news({ count, notifications }: Omit<Acknowledged, 'inbox'>, bumps: number): DoorbellNews {
  const isWhole = bumps === 1 && notifications.length === count
  return isWhole ? { kind: 'updated', notifications, bumps } : { kind: 'changed', bumps }
}

interface Commit extends Acknowledged {
  /** Where the next one goes on, unless this was the last. */
  next: Position | undefined
}

function toCommit(userId: string, rows: MarkRow[]): Commit {
  const [first] = rows
  if (!first) throw new Error('carillon_state has no row')
  const { epoch, count, candidates, lowestSeq, lowestCreatedAt } = first
  const mayHaveMore = candidates === markRowsMax && lowestSeq !== null && lowestCreatedAt !== null
  return {
    count,
    notifications: rows.filter(hasNotification).map((row) => toNotification(row, epoch)),
    inbox: toInbox(userId, epoch, first),
    next: mayHaveMore ? { seq: lowestSeq - 1, createdAt: lowestCreatedAt } : undefined,
  }
}

export interface SelectionArguments {
  ids?: readonly string[] | null | undefined
  upTo?: string | null | undefined
  after?: string | null | undefined
}

/** What a caller chose: exactly one of `ids` and `upTo`, or BAD_USER_INPUT. Fails with CURSOR_INVALID too. */
export function toSelection(cursors: Cursors, userId: string, { ids, upTo, after }: SelectionArguments): Selection {
  if ((ids == null) === (upTo == null)) throw badUserInput('give exactly one of ids and upTo')
  if (after != null && upTo == null) throw badUserInput('after goes only with upTo')
  if (upTo != null) {
    const place = cursors.decode(userId, upTo)
    return after == null ? { upTo: place } : { upTo: place, after: cursors.decode(userId, after) }
  }
  const chosen = ids ?? []
  if (chosen.length > idsMax) throw badUserInput(`at most ${idsMax} ids at once`)
  return { ids: chosen }
}

/** Each once, without those that are no id of anything. */
function uuids(ids: readonly string[]): string[] {
  return [...new Set(ids.filter(isUuid).map((id) => id.toLowerCase()))]
}
