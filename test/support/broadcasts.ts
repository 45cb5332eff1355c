// Broadcasts over the public API, and what came of them in the database.
import { sql } from 'kysely'
import { vi } from 'vitest'
import type { Broadcast } from '../../src/broadcasts/broadcast.ts'
import type { Database } from '../../src/postgres.ts'
import { request, tokenFor } from './server.ts'

export const broadcastScopes = [
  'notifications:send',
  'users:read',
  'users:write',
  'templates:write',
  'broadcasts:read',
  'broadcasts:write',
]
export const broadcastToken = () => tokenFor('service', broadcastScopes)

export const broadcastFields =
  'id status category priority total sent failed skipped progress createdAt startedAt finishedAt error'

/** As the API has it: instants are texts. */
export type ApiBroadcast = Omit<Broadcast, 'createdAt' | 'startedAt' | 'finishedAt'> & {
  createdAt: string
  startedAt: string | null
  finishedAt: string | null
}

export interface Answer<Data> {
  data: Data | null | undefined
  code: string | undefined
  message: string | undefined
}

export async function call<Data>(
  url: string,
  token: string,
  query: string,
  variables: Record<string, unknown> = {},
): Promise<Answer<Data>> {
  const { data, errors } = await request<Data>(url, token, query, variables)
  return { data, code: errors?.[0]?.extensions.code, message: errors?.[0]?.message }
}

export function start(url: string, token: string, input: Record<string, unknown>) {
  const mutation = `mutation ($input: BroadcastNotificationInput!) {
    broadcastNotification(input: $input) { ${broadcastFields} } }`
  return call<{ broadcastNotification: ApiBroadcast }>(url, token, mutation, {
    input: { segment: { everyone: true }, ...(!('template' in input) && { content: { title: 'Hello' } }), ...input },
  })
}

/** Fails where it was refused. */
export async function started(url: string, token: string, input: Record<string, unknown> = {}): Promise<ApiBroadcast> {
  const { data, message } = await start(url, token, input)
  if (!data) throw new Error(`refused: ${message}`)
  return data.broadcastNotification
}

export async function read(url: string, token: string, id: string): Promise<ApiBroadcast> {
  const query = `query ($id: ID!) { broadcast(id: $id) { ${broadcastFields} } }`
  const { data, message } = await call<{ broadcast: ApiBroadcast | null }>(url, token, query, { id })
  if (!data?.broadcast) throw new Error(`no such broadcast: ${message}`)
  return data.broadcast
}

/** As it is once it has ended. */
export function finished(url: string, token: string, id: string, timeout = 20_000): Promise<ApiBroadcast> {
  return vi.waitFor(
    async () => {
      const broadcast = await read(url, token, id)
      if (broadcast.finishedAt === null) throw new Error(`${broadcast.status} at ${broadcast.progress}`)
      return broadcast
    },
    { timeout, interval: 20 },
  )
}

/** Users u00001, u00002, … with locales in turn and an attribute `n`, their number. */
export async function createUsers(database: Database, count: number, locales: readonly (string | null)[] = [null]) {
  await sql`
    insert into users (id, name, locale, attributes)
    select 'u' || lpad(n::text, 6, '0'), 'User ' || n, (${locales}::text[])[1 + n % ${locales.length}::int], jsonb_build_object('n', n)
    from generate_series(1, ${count}::int) n`.execute(database.kysely)
}

export const userName = (number: number) => `u${String(number).padStart(6, '0')}`

/** How many notifications of a category each user has, and whether anybody's log has a gap. */
export async function logs(database: Database, category = 'general') {
  const { rows } = await sql<{ users: number; rows: number; most: number; gaps: number }>`
    select count(*)::int as users, coalesce(sum(n.count), 0)::int as rows, coalesce(max(n.count), 0)::int as most,
      (select count(*) from (
        select user_id from notifications group by user_id having max(seq) <> count(*) or count(distinct seq) <> count(*)) g)::int as gaps
    from (select user_id, count(*) from notifications where category = ${category} group by user_id) n`.execute(
    database.kysely,
  )
  const [row] = rows
  if (!row) throw new Error('no row')
  return row
}
