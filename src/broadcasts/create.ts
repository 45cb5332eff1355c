// `broadcastNotification`: validates, takes the template as it is now, cuts the segment into ranges, and commits all of it
// in one statement. Accepted means that it will be carried out, whoever dies (engine.ts).
import { badUserInput, CarillonError } from '../errors.ts'
import { canonicalHash, type JsonObject, toJsonText } from '../json.ts'
import { newId } from '../new-id.mjs'
import { idempotencyHours } from '../notifications/append.ts'
import { type Priority, priorities } from '../notifications/notification.ts'
import { checkCategory, checkIdempotencyKey, checkShown, dataBytesMax, toDataText } from '../notifications/validate.ts'
import type { Database } from '../postgres.ts'
import { withRetry } from '../retry.ts'
import type { Templates } from '../templates/templates.ts'
import { compileSegment, type Segment } from '../users/segment.ts'
import type { Broadcast, Source } from './broadcast.ts'
import { planBroadcast } from './plan.ts'
import { findBroadcast } from './read.ts'

export interface BroadcastInput {
  segment: Segment
  content?: ContentInput | null | undefined
  template?: { key: string; variables?: JsonObject | null | undefined } | null | undefined
  category: string
  data?: JsonObject | null | undefined
  priority: Priority
  /** Milliseconds since 1970. */
  expiresAt?: number | null | undefined
  idempotencyKey?: string | null | undefined
}

interface ContentInput {
  title: string
  body?: string | null | undefined
  url?: string | null | undefined
}

/** Fails with BAD_USER_INPUT, IDEMPOTENCY_CONFLICT and UNAVAILABLE; sending again with the same key is safe. */
export type CreateBroadcast = (sender: string, input: BroadcastInput) => Promise<Broadcast>

export interface CreateBroadcastOptions {
  database: Database
  templates: Pick<Templates, 'find'>
  /** Milliseconds since 1970, by the database's clock. */
  now: () => number
  onQueued: () => void
}

/** Idempotency keys are apart by operation. */
const operation = 'broadcastNotification'
/** Of all that a template is told beside the user. */
export const variablesBytesMax = dataBytesMax

export function createCreateBroadcast(options: CreateBroadcastOptions): CreateBroadcast {
  const { database, templates, now, onQueued } = options

  async function sourceOf({ content, template }: BroadcastInput): Promise<Source> {
    if (content) return { content: { title: content.title, body: content.body ?? null, url: content.url ?? null } }
    const found = template && (await templates.find(template.key))
    if (!found) throw badUserInput('there is no template with this key')
    return { template: { defaultLocale: found.defaultLocale, translations: found.translations } }
  }

  return async (sender, input) => {
    check(input)
    const { segment, template, category, priority, expiresAt = null, idempotencyKey } = input
    const data = toDataText(input.data)
    const variables = template?.variables ? toJsonText('variables', template.variables, variablesBytesMax) : null
    const hash = idempotencyKey == null ? null : hashOf(input)
    if (idempotencyKey != null) {
      checkIdempotencyKey(idempotencyKey)
      // Before anything that may have changed since: the template, the time.
      const first = await findFirst(database, sender, idempotencyKey, hash)
      if (first) return first
    }
    if (expiresAt !== null && expiresAt <= now()) throw badUserInput('expiresAt must lie in the future')
    const source = JSON.stringify(await sourceOf(input))
    const { estimate, ranges } = await planBroadcast(database, segment)
    const record = {
      id: newId(),
      sender,
      priority: priorities.indexOf(priority),
      category,
      segment: JSON.stringify(segment),
      source,
      variables,
      data,
      expires: expiresAt,
      estimate,
      key: idempotencyKey ?? null,
      hash,
    }
    const values = [JSON.stringify(record), JSON.stringify(ranges)]
    const made = await withRetry(() => database.query('create-broadcast', createStatement, values))
    if (made.length === 0) {
      const first = await findFirst(database, sender, record.key, hash)
      if (first) return first
      throw new CarillonError('UNAVAILABLE', 'the idempotency key has just run out; try again')
    }
    onQueued()
    const broadcast = await findBroadcast(database, record.id)
    if (!broadcast) throw new Error('a broadcast that was just made is not there')
    return broadcast
  }
}

function check({ segment, content, template, category }: BroadcastInput): void {
  if (content && template) throw badUserInput('give content or template, not both')
  if (!content && !template) throw badUserInput('give content or template')
  if (content) checkShown(content)
  checkCategory(category)
  // For its limits, before anything walks through it.
  compileSegment(segment)
}

/** Of what is asked for: as canonical JSON, with defaults, and what is null left out where that means the same. */
function hashOf({ segment, content, template, category, data, priority, expiresAt }: BroadcastInput): string {
  const withoutNulls = (value: unknown) =>
    JSON.parse(JSON.stringify(value ?? null, (_, inner) => inner ?? undefined) ?? 'null')
  return canonicalHash({
    segment: withoutNulls(segment),
    content: withoutNulls(content),
    template: template ? { key: template.key, variables: template.variables ?? null } : null,
    category,
    data: data ?? null,
    priority,
    expiresAt: expiresAt ?? null,
  })
}

async function findFirst(database: Database, sender: string, key: string | null, hash: string | null) {
  const values = [sender, operation, key]
  const [row] = await withRetry(() =>
    database.query<{ id: string; hash: string }>('find-first-broadcast', findFirstStatement, values),
  )
  if (!row) return null
  if (row.hash !== hash) {
    throw new CarillonError('IDEMPOTENCY_CONFLICT', 'this idempotency key was used with another input')
  }
  return findBroadcast(database, row.id)
}

// The key is inserted first: of two calls at once one waits for the other, and finds it used.
const createStatement = `
with input as materialized (
  select * from json_to_record($1::json) as (id uuid, sender text, priority int2, category text, segment text, source text,
    variables text, data text, expires float8, estimate int, key text, hash text)),
fresh as (
  insert into idempotency_keys (sender, operation, key, user_id, hash, id)
  select sender, '${operation}', key, '', decode(hash, 'hex'), id from input where key is not null
  on conflict (sender, operation, key) do update
    set user_id = excluded.user_id, hash = excluded.hash, id = excluded.id, at = now()
    where idempotency_keys.at < now() - interval '${idempotencyHours} hours'
  returning id),
made as (
  insert into broadcasts (id, sender, priority, category, segment, source, variables, data, expires_at, estimate)
  select id, sender, priority, category, segment, source, variables, data, to_timestamp(expires / 1000), estimate
  from input where key is null or id in (select id from fresh)
  returning id),
ranges as (
  insert into broadcast_ranges (broadcast_id, nr, cursor, last_id)
  select m.id, r.nr, r.cursor, r."lastId" from made m cross join
    rows from (json_to_recordset($2::json) as (cursor text, "lastId" text)) with ordinality as r(cursor, "lastId", nr))
select id from made`

const findFirstStatement = `
select id, encode(hash, 'hex') as hash from idempotency_keys
where sender = $1 and operation = $2 and key = $3 and at >= now() - interval '${idempotencyHours} hours'`
