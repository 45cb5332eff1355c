// The directory: users as the sender knows them, by their ids. In set-based statements; pages by key.
import { sql } from 'kysely'
import { badUserInput, CarillonError } from '../errors.ts'
import { type Page, pageSizeOf, toPage } from '../page.ts'
import type { Database } from '../postgres.ts'
import { withRetry } from '../retry.ts'
import { isStorable } from '../text-flaw.mjs'
import { planned } from './plans.ts'
import { compileSegment, type Segment } from './segment.ts'
import type { User, UserInput } from './user.ts'
import { deletedUsersMax, type UserRecord, upsertedUsersMax, validateUser } from './validate.ts'

/** Of a preview. */
export const sampleSize = 10
/** Rounds of an upsert: a user that others create and delete all the time is given up on. */
const roundsMax = 5

export interface PageArguments {
  first?: number | null | undefined
  after?: string | null | undefined
}

export interface Directory {
  /**
   * How many users it created or changed: all of them, each once. All or nothing but for what others do meanwhile. Of two
   * inputs with one id the later is laid over the earlier. Fails with BAD_USER_INPUT and UNAVAILABLE.
   */
  upsert(inputs: readonly UserInput[]): Promise<number>
  /** How many there were. */
  delete(ids: readonly string[]): Promise<number>
  find(id: string): Promise<User | null>
  /** In order of the ids. Fails with BAD_USER_INPUT, and with CURSOR_INVALID for what is none of its cursors. */
  page(segment: Segment | null, args: PageArguments): Promise<Page<User>>
  /** How many a segment holds, and the first of them. */
  preview(segment: Segment): Promise<{ total: number; sample: User[] }>
}

export function createDirectory({ kysely, query }: Database): Directory {
  return {
    async upsert(inputs) {
      if (inputs.length > upsertedUsersMax) throw badUserInput(`users must have ${upsertedUsersMax} items at most`)
      const records = new Map<string, UserRecord>()
      for (const input of inputs) {
        const record = validateUser(input)
        records.set(record.id, { ...records.get(record.id), ...record })
      }
      // Those that another call created meanwhile are there in the next round, to be changed.
      let left = [...records.values()]
      for (let round = 1; left.length > 0; round++) {
        if (round > roundsMax) throw new CarillonError('UNAVAILABLE', 'others are changing the same users; try again')
        const values = [JSON.stringify(left.map(toItem))]
        const rows = await withRetry(() => query<{ id: string }>('upsert-users', upsertStatement, values))
        const done = new Set(rows.map(({ id }) => id))
        left = left.filter(({ id }) => !done.has(id))
      }
      return records.size
    },

    async delete(ids) {
      if (ids.length > deletedUsersMax) throw badUserInput(`ids must have ${deletedUsersMax} items at most`)
      const values = [ids.filter(isStorable)]
      const rows = await withRetry(() => query<{ id: string }>('delete-users', deleteStatement, values))
      return rows.length
    },

    async find(id) {
      if (!isStorable(id)) return null
      const { rows } = await sql<User>`select ${columns} from users u where u.id = ${id}`.execute(kysely)
      return rows[0] ?? null
    },

    async page(segment, { first, after }) {
      const size = pageSizeOf(first)
      const matching = segment === null ? sql`true` : compileSegment(segment)
      const behind = after == null ? null : fromCursor(after)
      const { rows } = await planned(kysely, (transaction) =>
        sql<User>`select ${columns} from users u
          where ${matching} ${behind === null ? sql`` : sql`and u.id > ${behind}`}
          order by u.id limit ${size + 1}`.execute(transaction),
      )
      // As Relay allows where one pages forward: whoever has a cursor has been on the page before.
      const more = { hasNextPage: rows.length > size, hasPreviousPage: behind !== null }
      return toPage(rows.slice(0, size), ({ id }) => toCursor(id), more)
    },

    async preview(segment) {
      const matching = compileSegment(segment)
      return planned(kysely, async (transaction) => {
        const { rows: sample } = await sql<User>`select ${columns} from users u where ${matching}
          order by u.id limit ${sampleSize}`.execute(transaction)
        if (sample.length < sampleSize) return { total: sample.length, sample }
        const { rows } = await sql<{ total: number }>`select count(*)::int as total from users u
          where ${matching}`.execute(transaction)
        return { total: rows[0]?.total ?? 0, sample }
      })
    },
  }
}

const columns = sql.raw(`u.id, u.name, u.locale, u.time_zone as "timeZone", u.attributes,
  (extract(epoch from u.created_at) * 1000)::float8 as "createdAt",
  (extract(epoch from u.updated_at) * 1000)::float8 as "updatedAt"`)

/** Which fields are given, as bits; what is not is null. */
const nameBit = 1
const localeBit = 2
const timeZoneBit = 4
const attributesBit = 8

function toItem({ id, name, locale, timeZone, attributes }: UserRecord) {
  const given =
    (name === undefined ? 0 : nameBit) |
    (locale === undefined ? 0 : localeBit) |
    (timeZone === undefined ? 0 : timeZoneBit) |
    (attributes === undefined ? 0 : attributesBit)
  return { i: id, g: given, n: name, l: locale, z: timeZone, a: attributes }
}

const updated = (column: string, given: number, item: string) =>
  `${column} = case when g & ${given} > 0 then ${item} else u.${column} end`

// Rows are locked in the order of their ids, so that two calls with the same users don't wait for each other for ever.
const upsertStatement = `
with item as materialized (
  select * from json_to_recordset($1::json) as (i text, g int, n text, l text, z text, a text)),
known as materialized (
  select u.id from item join users u on u.id = item.i collate "C" order by u.id for update of u),
changed as (
  update users u set updated_at = now(), ${updated('name', nameBit, 'n')}, ${updated('locale', localeBit, 'l')},
    ${updated('time_zone', timeZoneBit, 'z')}, ${updated('attributes', attributesBit, 'a::jsonb')}
  from item join known on known.id = item.i collate "C" where u.id = known.id
  returning u.id),
created as (
  insert into users (id, name, locale, time_zone, attributes)
  select i, n, l, z, coalesce(a, '{}')::jsonb from item
  where not exists (select from known where known.id = i collate "C") order by i collate "C"
  on conflict do nothing
  returning id)
select id from changed union all select id from created`

const deleteStatement = `
with doomed as materialized (
  select id from users where id = any($1::text[]) order by id for update)
delete from users u using doomed where u.id = doomed.id returning u.id`

/** A place and nothing else: there is nothing in it to be kept from anybody who may list users. */
const toCursor = (id: string) => Buffer.from(`u${id}`).toString('base64url')

function fromCursor(cursor: string): string {
  const text = Buffer.from(cursor, 'base64url').toString()
  if (!text.startsWith('u') || toCursor(text.slice(1)) !== cursor || !isStorable(text)) {
    throw new CarillonError('CURSOR_INVALID', 'not a cursor of users')
  }
  return text.slice(1)
}
