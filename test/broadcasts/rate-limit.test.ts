// How many notifications from broadcasts a user gets within a minute, whichever workers send them.
import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { broadcastToken, createUsers, finished, logs, started, userName } from '../support/broadcasts.ts'
import { type Fleet, request, serviceToken, startFleet } from '../support/server.ts'

let fleet: Fleet
let token: string
beforeAll(async () => {
  fleet = await startFleet({ env: { CARILLON_USER_RATE_PER_MINUTE: '1', CARILLON_BROADCAST_BATCH: '200' } })
  await fleet.start()
  token = await broadcastToken()
})
beforeEach(async () => {
  const { database } = fleet.test
  for (const table of ['broadcast_ranges', 'broadcasts', 'users', 'notifications', 'inboxes']) {
    await database.query(`no-${table}`, `delete from ${table}`, [])
  }
})
afterAll(() => fleet[Symbol.asyncDispose]())

const urlOf = (place: number) => fleet.servers[place % fleet.servers.length]?.url ?? ''

async function broadcastAll(count: number, input: Record<string, unknown> = {}, urls = urlOf) {
  const queued = await Promise.all(Array.from({ length: count }, (_, place) => started(urls(place), token, input)))
  return Promise.all(queued.map(({ id }, place) => finished(urls(place), token, id)))
}

const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0)

test('of several broadcasts at once over two workers everybody gets one, and the rest adds up', async () => {
  await createUsers(fleet.test.database, 1_500)
  const all = await broadcastAll(4)
  expect(await logs(fleet.test.database)).toEqual({ users: 1_500, rows: 1_500, most: 1, gaps: 0 })
  for (const { status, total, sent, failed, skipped } of all) {
    expect({ status, total, failed }).toEqual({ status: 'COMPLETED', total: 1_500, failed: 0 })
    expect(sent + skipped).toBe(1_500)
  }
  expect(sum(all.map(({ sent }) => sent))).toBe(1_500)
})

test('CRITICAL is exempt, and leaves what the limit counts alone; so do direct sends', async () => {
  await createUsers(fleet.test.database, 10)
  await broadcastAll(2, { priority: 'CRITICAL' })
  const send = 'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { duplicate } }'
  await request(fleet.url, await serviceToken(), send, { input: { userId: userName(1), title: 'direct' } })
  const [normal] = await broadcastAll(1)
  expect(normal).toMatchObject({ sent: 10, skipped: 0 })
  const [skipped] = await broadcastAll(1, { priority: 'HIGH' })
  expect(skipped).toMatchObject({ status: 'COMPLETED', sent: 0, skipped: 10, total: 10, progress: 1 })
  const [critical] = await broadcastAll(1, { priority: 'CRITICAL' })
  expect(critical).toMatchObject({ sent: 10, skipped: 0 })
})

test('within any minute: a minute after the oldest that counts there is room for one', async () => {
  const { url } = await fleet.start({ CARILLON_USER_RATE_PER_MINUTE: '3' })
  await createUsers(fleet.test.database, 1)
  // Only that one may work, with its limit.
  const others = fleet.servers.slice(0, 2)
  await Promise.all(others.map((server) => server.close()))
  const one = async () => (await broadcastAll(1, {}, () => url))[0]?.sent
  const age = (seconds: number) =>
    sql`update inboxes set broadcast_at = (select array_agg(x - ${seconds} * interval '1 second' order by x)
      from unnest(broadcast_at) x)`.execute(fleet.test.database.kysely)
  expect([await one(), await one()]).toEqual([1, 1])
  await age(30)
  expect([await one(), await one()]).toEqual([1, 0])
  await age(29)
  expect(await one()).toBe(0)
  await age(2)
  expect([await one(), await one(), await one()]).toEqual([1, 1, 0])
  await age(58)
  expect(await one()).toBe(1)
  await age(61)
  expect([await one(), await one(), await one(), await one()]).toEqual([1, 1, 1, 0])
  const { rows } = await sql<{ most: number }>`select max(cardinality(broadcast_at)) as most from inboxes`.execute(
    fleet.test.database.kysely,
  )
  expect(rows[0]?.most).toBe(3)
})
