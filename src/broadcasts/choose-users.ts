// Whom a batch is for: the next users of the segment in order of their ids, by key, holding nothing.
import { type RawBuilder, sql } from 'kysely'
import type { Database } from '../postgres.ts'
import { planned, tookTooLong } from '../users/plans.ts'
import { compileSegment } from '../users/segment.ts'
import type { Claim } from './claim.ts'

/** For a statement that finds them in the whole directory; then it looks among so many users at a time. */
const findMsMax = 2_000
const windowUsers = 500_000

export interface Chosen {
  /** Each the JSON text of a list of users, as `Renderer` takes it. */
  groups: string[]
  /** The range has no others. */
  isEnd: boolean
  /** Where nobody was found: how far was looked. */
  upTo: string
}

/**
 * In groups as small as a statement that appends: one text for all of them would hold up whoever writes it, reads it or
 * passes it on for tens of milliseconds.
 */
export async function chooseUsers(
  database: Database,
  claim: Claim,
  usersMax: number,
  groupUsers: number,
): Promise<Chosen> {
  try {
    return await findUsers(database, claim, usersMax, groupUsers, null)
  } catch (error) {
    if (!tookTooLong(error)) throw error
  }
  // Few match, and no index knows them: a stretch of the directory at a time.
  try {
    return await findUsers(database, claim, usersMax, groupUsers, windowUsers)
  } catch (error) {
    if (!tookTooLong(error)) throw error
    throw new Error('finding the next users of the segment takes too long', { cause: error })
  }
}

/** `window`: among how many users of the directory, whether they match or not; null is all. */
async function findUsers(
  { kysely }: Database,
  { segment, cursor, lastId, source }: Claim,
  usersMax: number,
  groupUsers: number,
  window: number | null,
): Promise<Chosen> {
  const isWithin = sql`u.id > ${cursor} and ${lastId === null ? sql`true` : sql`u.id <= ${lastId}`}`
  const directory =
    window === null ? sql`users` : sql`(select * from users u where ${isWithin} order by u.id limit ${window})`
  return planned(kysely, async (transaction) => {
    if (window === null) await sql.raw(`set local statement_timeout = ${findMsMax}`).execute(transaction)
    const { rows } = await sql<{ users: string; count: number; lastId: string }>`
      select json_agg(record order by id)::text as users, count(*)::int as count, max(id) as "lastId"
      from (
        select id, row_to_json(u) as record, (row_number() over (order by id) - 1) / ${sql.lit(groupUsers)} as nth
        from (select ${'content' in source ? onlyIds : everything} from ${directory} u
          where ${compileSegment(segment)} and ${isWithin}
          order by u.id limit ${usersMax}) u) u
      group by nth order by nth`.execute(transaction)
    const groups = rows.map(({ users }) => users)
    const isFull = rows.reduce((sum, { count }) => sum + count, 0) === usersMax
    if (window === null || isFull) {
      return { groups, isEnd: !isFull || rows.at(-1)?.lastId === lastId, upTo: cursor }
    }
    const looked = await sql<{ upTo: string | null }>`
      select max(id) as "upTo" from ${directory} u`.execute(transaction)
    const upTo = looked.rows[0]?.upTo ?? cursor
    const more = await sql`select from users u where ${isWithin} and u.id > ${upTo} limit 1`.execute(transaction)
    return { groups, isEnd: more.rows.length === 0, upTo }
  })
}

const onlyIds: RawBuilder<unknown> = sql.raw('u.id')
const everything: RawBuilder<unknown> = sql.raw('u.id, u.name, u.locale, u.time_zone as "timeZone", u.attributes')
