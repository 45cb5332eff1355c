// A shard is a schema (docs/SCALING.md): whatever is done for its users stays in it, though others lie beside it.
import pg from 'pg'
import { expect, test, vi } from 'vitest'
import { request, serviceToken, startFleet, tokenFor } from '../support/server.ts'
import { Subscriber } from '../support/subscriber.ts'

const users = ['alice', 'bob', 'carol']

const sendMany = `mutation ($inputs: [SendNotificationInput!]!) {
  sendNotifications(inputs: $inputs) { payload { notification { id cursor } duplicate } error { code } }
}`
const inputsFor = (round: string) =>
  users.flatMap((userId) => [
    { userId, title: `without a key, ${round}` },
    { userId, title: 'with one', idempotencyKey: `${userId} ${round}` },
  ])

interface Results {
  sendNotifications: { payload: { notification: { id: string; cursor: string }; duplicate: boolean } }[]
}

test('every hot statement, and what runs by itself, touches the tables of its own schema alone', async () => {
  await using fleet = await startFleet({ instances: 0 })
  const databaseUrl = fleet.test.url
  // Two of them, and the tables in public that each would see if a statement named no schema of its own.
  await query(databaseUrl, 'create schema shard_a; create schema shard_b')
  await useSchema(databaseUrl, 'shard_b')
  const neighbour = await fleet.start({ CARILLON_MIGRATE: 'true' })
  await sendAll(neighbour.url, 'before')
  await neighbour.close()
  await useSchema(databaseUrl, 'shard_a')
  const before = await touched(databaseUrl)

  const { url, close } = await fleet.start({
    CARILLON_MIGRATE: 'true',
    CARILLON_TAIL_CHECK_MS: '100',
    CARILLON_SEND_RATE_PER_MINUTE: '1000',
  })
  const subscribers = await Promise.all(
    users.map(
      async (user) =>
        new Subscriber(url, { token: await tokenFor(user), query: 'subscription { notifications { seq } }' }),
    ),
  )
  const sent = await sendAll(url, 'first')
  const repeated = await sendAll(url, 'first')
  expect(repeated.map(({ duplicate }) => duplicate)).toEqual([false, true, false, true, false, true])
  await vi.waitFor(() => {
    for (const { received } of subscribers) expect(received).toHaveLength(3)
  }, 10_000)
  for (const [index, user] of users.entries()) {
    const token = await tokenFor(user)
    const { id, cursor: upTo } = sent[2 * index]?.notification ?? {}
    const marked = `mutation ($id: ID!, $upTo: String!) {
      markDelivered(upTo: $upTo) { count } markRead(ids: [$id]) { count } archiveNotifications(ids: [$id]) { count }
    }`
    expect(await request(url, token, marked, { id, upTo })).toMatchObject({ status: 200, data: expect.anything() })
    const read = '{ history(first: 2) { nodes { id } } inbox { unreadCount } }'
    expect(await request(url, token, read)).toMatchObject({ data: { history: { nodes: [{}, {}] } } })
  }
  const retract = 'mutation ($id: ID!) { retractNotification(id: $id) }'
  const id = sent[0]?.notification.id
  expect(await request(url, await serviceToken(), retract, { id })).toMatchObject({
    data: { retractNotification: true },
  })
  for (const subscriber of subscribers) subscriber.drop()
  await close()

  const after = await touched(databaseUrl)
  expect(after.get('shard_a')).toBeGreaterThan(100)
  expect(after.get('shard_b')).toBe(before.get('shard_b'))
  expect(after.get('public')).toBe(before.get('public'))
})

async function sendAll(url: string, round: string) {
  const response = await request<Results>(url, await serviceToken(), sendMany, { inputs: inputsFor(round) })
  return response.data?.sendNotifications.map(({ payload }) => payload) ?? []
}

/** For whoever connects from now on. */
async function useSchema(databaseUrl: string, name: string): Promise<void> {
  await query(databaseUrl, `alter database ${new URL(databaseUrl).pathname.slice(1)} set search_path = ${name}`)
}

/** Rows written and scans begun, by schema. Complete once those who did it have disconnected. */
async function touched(databaseUrl: string): Promise<Map<string, number>> {
  await vi.waitFor(async () => {
    const connections = await query(
      databaseUrl,
      "select from pg_stat_activity where application_name = 'carillon' and datname = current_database()",
    )
    // The fleet's own, which made the database.
    expect(connections.length).toBeLessThan(2)
  }, 10_000)
  const rows = await query(
    databaseUrl,
    `select schemaname, sum(n_tup_ins + n_tup_upd + n_tup_del + seq_scan + coalesce(idx_scan, 0))::int as count
    from pg_stat_user_tables group by schemaname`,
  )
  return new Map(rows.map(({ schemaname, count }) => [schemaname, count]))
}

async function query(databaseUrl: string, text: string): Promise<{ schemaname: string; count: number }[]> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}
