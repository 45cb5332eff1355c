// One batch of a broadcast: chooses the next users and renders for them, holding nothing but a lease, then appends in short
// statements and rings. What happens to a batch that can't be finished is decided here too; engine.ts says when it runs.
import { setTimeout as sleep } from 'node:timers/promises'
import { type RawBuilder, sql } from 'kysely'
import type { Bus } from '../bus/bus.ts'
import { CarillonError, messageOf } from '../errors.ts'
import type { Logger } from '../logger.ts'
import type { Metrics } from '../metrics.ts'
import type { Doorbell } from '../notifications/doorbell.ts'
import { priorities } from '../notifications/notification.ts'
import { type Database, isTransient, sqlState } from '../postgres.ts'
import { withRetry } from '../retry.ts'
import { seldom } from '../seldom.ts'
import type { Rendered, Renderer } from '../templates/renderer.ts'
import { planned } from '../users/plans.ts'
import { compileSegment } from '../users/segment.ts'
import type { AppendBatch, AppendedStretch, Stretch } from './append-batch.ts'
import { type Claim, leaseRenewalMs, releaseRange, renewLease } from './claim.ts'
import { completeBroadcasts, stopBroadcast } from './end.ts'

/** Users of one statement: it holds their inboxes for a few milliseconds, and this process is busy with it as long. */
export const stretchUsersMax = 128
/** Characters of its content, so that large texts don't make a slow statement. */
export const stretchCharactersMax = 1024 * 1024
/** So long a batch goes on to its next group: somebody may have something more urgent. */
const batchMsMax = 1_000
/** Batches that fail one after the other, for no reason that passes by itself, before the broadcast does. */
export const attemptsMax = 5
/** Until somebody tries a batch again that failed. */
export const retryMs = 1_000

export interface WorkerOptions {
  database: Database
  bus: Bus<Doorbell>
  renderer: Renderer
  appendBatch: AppendBatch
  metrics: Metrics
  logger: Logger
  batchUsers: number
}

/** Never rejects: what goes wrong is logged, and the range given back. Between two statements it looks at `isStopping`. */
export type Work = (claim: Claim, isStopping: () => boolean) => Promise<void>

export function createWork(options: WorkerOptions): Work {
  const { database, bus, renderer, appendBatch, metrics, logger, batchUsers } = options
  const logPassing = seldom((reason, times) =>
    logger.warn({ reason, times }, 'a batch of a broadcast failed because of what may pass'),
  )

  async function work(claim: Claim, isStopping: () => boolean): Promise<void> {
    if (claim.isExpired) return fail(claim, 'it expired before it had reached everybody')
    const { groups, isEnd, upTo: end } = await chooseUsers(database, claim, batchUsers)
    const begunAt = performance.now()
    let { cursor } = claim
    for (const [index, users] of groups.entries()) {
      const isLate = index > 0 && performance.now() - begunAt > batchMsMax
      if (isStopping() || isLate) return giveBack(claim)
      const { chunks, firstFailure } = await render(claim, users)
      for (const [nth, { items, failed, upTo }] of chunks.entries()) {
        const isLast = isEnd && index === groups.length - 1 && nth === chunks.length - 1
        const stretch = { items, failed, upTo, cursor, failure: failed > 0 ? firstFailure : null, isLast }
        const startedAt = performance.now()
        const appended = await withRetry(() => appendBatch(claim, stretch))
        // Somebody else's, stopped or expired: whoever claims it next finds out.
        if (!appended) return giveBack(claim)
        report(claim, stretch, appended)
        cursor = upTo
        // Half of the time is for others: what was due meanwhile is done then, here and in the database.
        await sleep(performance.now() - startedAt)
      }
    }
    if (groups.length === 0) {
      const nobody = { items: '[]', failed: 0, failure: null, cursor, upTo: end, isLast: isEnd }
      await withRetry(() => appendBatch(claim, nobody))
    }
    if (isEnd) await completeBroadcasts(database, claim.broadcastId)
    else await giveBack(claim)
  }

  async function giveBack(claim: Claim): Promise<void> {
    await releaseRange(database, claim, 0, false)
  }

  function render({ broadcastId, source, variables }: Claim, users: string): Promise<Rendered> {
    const limits = { chunkItemsMax: stretchUsersMax, chunkCharactersMax: stretchCharactersMax }
    return renderer.render({ cacheKey: broadcastId, source, variables, users, ...limits })
  }

  function report({ priority }: Claim, { failed }: Stretch, { received, skipped }: AppendedStretch): void {
    metrics.notificationsAccepted.inc({ priority: priorities[priority] ?? 'NORMAL' }, received.length)
    metrics.broadcastRecipients.inc({ outcome: 'sent' }, received.length)
    metrics.broadcastRecipients.inc({ outcome: 'failed' }, failed)
    metrics.broadcastRecipients.inc({ outcome: 'skipped' }, skipped)
    // One batch of doorbells a statement. Nobody waits for the bus, which never fails and bounds what waits in it.
    void bus.publish(
      received.map(({ notification, inbox }) => ({
        userId: notification.userId,
        message: { inbox, news: { kind: 'received', notifications: [notification] } },
        // Of a million users few are connected, and to the others' instances each row would cost more than its send.
        brief: { inbox, news: { kind: 'appended' } },
      })),
    )
  }

  async function fail({ broadcastId }: Claim, reason: string): Promise<void> {
    logger.error({ broadcastId, reason }, 'a broadcast failed')
    await stopBroadcast(database, broadcastId, 'FAILED', reason)
  }

  async function recover(claim: Claim, error: unknown): Promise<void> {
    // Of the template: rendered anew it would take as long.
    if (error instanceof CarillonError && error.code === 'BAD_USER_INPUT') return fail(claim, error.message)
    const { broadcastId, attempts } = claim
    const passes = mayPass(error)
    if (passes) logPassing(messageOf(causeOf(error)))
    else logger.error({ err: error, broadcastId, attempts }, 'a batch of a broadcast failed')
    const failed = await releaseRange(database, claim, retryMs, !passes)
    if (failed >= attemptsMax) await fail(claim, `${attemptsMax} batches failed one after the other; see the log`)
  }

  return async (claim, isStopping) => {
    // Where it can't be renewed it runs out, and the next statement to append finds that out.
    const renewal = setInterval(() => void renewLease(database, claim).catch(() => {}), leaseRenewalMs)
    try {
      await work(claim, isStopping)
    } catch (error) {
      // Where that fails too the lease runs out.
      await recover(claim, error).catch((failure: unknown) => logPassing(messageOf(failure)))
    } finally {
      clearInterval(renewal)
    }
  }
}

const queryCanceled = '57014'
/** For a statement that finds the next users in the whole directory; then it looks among so many at a time. */
const findMsMax = 2_000
const windowUsers = 500_000

interface Chosen {
  /** Each the JSON text of a list of users, as `Renderer` takes it. */
  groups: string[]
  /** The range has no others. */
  isEnd: boolean
  /** Where nobody was found: how far was looked. */
  upTo: string
}

/**
 * The next users of the segment in order of their ids. In groups as small as a statement that appends: one text for all
 * of them would hold up whoever writes it, reads it or passes it on for tens of milliseconds.
 */
async function chooseUsers(database: Database, claim: Claim, usersMax: number): Promise<Chosen> {
  try {
    return await findUsers(database, claim, usersMax, null)
  } catch (error) {
    if (sqlState(causeOf(error)) !== queryCanceled) throw error
  }
  // Few match, and no index knows them: a stretch of the directory at a time.
  try {
    return await findUsers(database, claim, usersMax, windowUsers)
  } catch (error) {
    if (sqlState(causeOf(error)) !== queryCanceled) throw error
    throw new Error('finding the next users of the segment takes too long', { cause: error })
  }
}

/** `window`: among how many users of the directory, whether they match or not; null is all. */
async function findUsers({ kysely }: Database, claim: Claim, usersMax: number, window: number | null): Promise<Chosen> {
  const { segment, cursor, lastId, source } = claim
  const isWithin = sql`u.id > ${cursor} and ${lastId === null ? sql`true` : sql`u.id <= ${lastId}`}`
  const directory =
    window === null ? sql`users` : sql`(select * from users u where ${isWithin} order by u.id limit ${window})`
  return planned(kysely, async (transaction) => {
    if (window === null) await sql.raw(`set local statement_timeout = ${findMsMax}`).execute(transaction)
    const { rows } = await sql<{ users: string; count: number; lastId: string }>`
      select json_agg(record order by id)::text as users, count(*)::int as count, max(id) as "lastId"
      from (
        select id, row_to_json(u) as record, (row_number() over (order by id) - 1) / ${sql.lit(stretchUsersMax)} as nth
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

function mayPass(error: unknown): boolean {
  return error instanceof CarillonError ? error.code === 'UNAVAILABLE' : isTransient(error)
}

function causeOf(error: unknown): unknown {
  return error instanceof CarillonError && error.cause !== undefined ? error.cause : error
}
