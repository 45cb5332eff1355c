// History: pages of a user's log, newest first, as the Relay connection spec has it. By key alone, never by offset: a
// page reads about as many rows as it returns, from the partitions that hold them, however deep it lies.
import { type RawBuilder, sql } from 'kysely'
import { badUserInput } from '../errors.ts'
import { type Page, pageSizeOf, toPage } from '../page.ts'
import type { Database } from '../postgres.ts'
import { withRetry } from '../retry.ts'
import { type Cursors, cursorInvalid, notificationCursor } from './cursor.ts'
import { type Notification, type Position, type Priority, priorities } from './notification.ts'
import {
  hasNotification,
  instant,
  moment,
  type NotificationRow,
  type Nullable,
  notificationColumns,
  toNotification,
  visible,
  within,
} from './rows.ts'
import { isUuid } from './uuid.ts'

/** Far more than anybody shows as one list. */
export const filterCategoriesMax = 100

/** What is left out or null does not matter; an empty list matches nothing. */
export interface HistoryFilter {
  categories?: readonly string[] | null | undefined
  priorities?: readonly Priority[] | null | undefined
  delivered?: boolean | null | undefined
  seen?: boolean | null | undefined
  read?: boolean | null | undefined
  /** Left out: false. Null: both. */
  archived?: boolean | null | undefined
  /** Inclusive, milliseconds. */
  createdAfter?: number | null | undefined
  /** Exclusive, milliseconds. */
  createdBefore?: number | null | undefined
}

export interface HistoryArguments {
  first?: number | null | undefined
  after?: string | null | undefined
  last?: number | null | undefined
  before?: string | null | undefined
  filter?: HistoryFilter | null | undefined
}

export interface History {
  /**
   * Fails with BAD_USER_INPUT, with CURSOR_INVALID (not of this user, or of another epoch), with UNAVAILABLE. A cursor
   * past the retention time is a place like any other: nothing is older.
   */
  page(userId: string, args: HistoryArguments): Promise<Page<Notification>>
  /** One that is visible, of this user, or of anybody where `userId` is null. Fails with UNAVAILABLE. */
  find(userId: string | null, id: string): Promise<Notification | null>
}

export interface HistoryOptions {
  database: Database
  cursors: Cursors
  retentionMs: number
}

export function createHistory({ database, cursors, retentionMs }: HistoryOptions): History {
  const theMoment = sql.raw(moment(String(retentionMs)))

  return {
    async page(userId, { first, after, last, before, filter }) {
      const size = pageSizeOf(first, last)
      const newer = after == null ? null : cursors.decode(userId, after)
      const older = before == null ? null : cursors.decode(userId, before)

      const matching = [sql`n.user_id = ${userId}`, sql.raw(visible), ...conditions(filter ?? {})]
      const between = [
        ...matching,
        ...given(newer, (place) => at('<', place)),
        ...given(older, (place) => at('>', place)),
      ]
      const { rows } = await withRetry(() =>
        sql<PageRow>`with moment as (${theMoment})
          select m.epoch, n.*,
            ${newer ? exists([...matching, at('>=', newer)], oldestFirst) : sql.lit(false)} as "isNewer",
            ${older ? exists([...matching, at('<=', older)], newestFirst) : sql.lit(false)} as "isOlder"
          from moment m left join (
            select ${sql.raw(notificationColumns)} from notifications n where ${all(between)}
            order by ${last == null ? newestFirst : oldestFirst} limit ${size + 1}) n on true
          order by n."createdAt" desc, n.seq desc`.execute(database.kysely),
      )
      const [row] = rows
      if (!row) throw new Error('carillon_state has no row')
      const { epoch, isNewer, isOlder } = row
      if ([newer, older].some((place) => place && place.epoch !== epoch)) throw cursorInvalid()

      const found = rows.filter(hasNotification).map((found) => toNotification(found, epoch))
      const nodes = last == null ? found.slice(0, size) : found.slice(-size)
      const hasMore = found.length > size
      return toPage(nodes, (node) => notificationCursor(cursors, node), {
        hasNextPage: isOlder || (last == null && hasMore),
        hasPreviousPage: isNewer || (last != null && hasMore),
      })
    },

    async find(userId, id) {
      if (!isUuid(id)) return null
      const matching = [sql`n.id = ${id}`, sql.raw(visible), ...given(userId, (user) => sql`n.user_id = ${user}`)]
      const { rows } = await withRetry(() =>
        sql<NotificationRow & { epoch: string }>`with moment as (${theMoment})
          select m.epoch, ${sql.raw(notificationColumns)} from notifications n cross join moment m
          where ${all(matching)}`.execute(database.kysely),
      )
      return rows[0] ? toNotification(rows[0], rows[0].epoch) : null
    },
  }
}

interface PageRow extends Nullable<NotificationRow> {
  epoch: string
  /** Whether there are matching ones at `after` or newer, and at `before` or older. */
  isNewer: boolean
  isOlder: boolean
}

type Condition = RawBuilder<unknown>

const newestFirst = sql`n.created_at desc, n.seq desc`
const oldestFirst = sql`n.created_at, n.seq`

function conditions(filter: HistoryFilter): Condition[] {
  const { categories, archived = false } = filter
  if (categories && categories.length > filterCategoriesMax) {
    throw badUserInput(`filter.categories has ${filterCategoriesMax} at most`)
  }
  const state = (column: string) => (isSet: boolean) => sql.raw(`n.${column} is ${isSet ? 'not null' : 'null'}`)
  return [
    ...given(categories, (some) => sql`n.category = any (${some.filter(isStorable)}::text[])`),
    ...given(filter.priorities, (some) => sql`n.priority = any (${some.map(numberOf)}::smallint[])`),
    ...given(filter.delivered, state('delivered_at')),
    ...given(filter.seen, state('seen_at')),
    ...given(filter.read, state('read_at')),
    ...given(archived, state('archived_at')),
    ...given(filter.createdAfter, (ms) => sql`n.created_at >= ${since1970(ms)}`),
    ...given(filter.createdBefore, (ms) => sql`n.created_at < ${since1970(ms)}`),
  ]
}

function given<Value>(value: Value | null | undefined, condition: (value: Value) => Condition): Condition[] {
  return value == null ? [] : [condition(value)]
}

const all = (conditions: Condition[]) => sql.join(conditions, sql` and `)

/** Ordered, so that the search begins at the place that the conditions name. */
function exists(conditions: Condition[], order: Condition): RawBuilder<boolean> {
  return sql`coalesce((select true from notifications n where ${all(conditions)} order by ${order} limit 1), false)`
}

/** A cursor's numbers stand in the text as they are. */
const at = (side: '<' | '<=' | '>' | '>=', { createdAt, seq }: Position) =>
  sql.raw(within(side, instant(String(createdAt)), String(seq)))
const since1970 = (ms: number) => sql.raw(instant(String(ms)))

const numberOf = (priority: Priority) => priorities.indexOf(priority)
/** No category has a NUL in it, and PostgreSQL refuses the whole statement for one. */
const isStorable = (category: string) => !category.includes('\0')
