// E: who was away comes back and is sent what was not delivered: 500 users with 20 each at once, and one with 1,000.
// Nobody acknowledges, so that the same can be done again by a server that is warm.
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { spread } from '../report.mjs'
import { wholeOf } from '../servers.mjs'

const many = { name: '500 × 20', first: 0, end: 500, each: 20, warmUps: 6, times: 5 }
const one = { name: '1 × 1,000', first: 500, end: 501, each: 1_000, warmUps: 5, times: 10 }
/** Until the server has seen that they are gone. */
const betweenMs = 500
const filler = 'x'.repeat(140)

export const e = {
  name: 'E',
  title: 'Catch-up: 500 users with 20 undelivered each at once; 1 user with 1,000',
  charts: [
    { figure: '500 × 20 CPU ms', title: 'CPU of the server, 500 users with 20 each', unit: 'ms' },
    { figure: '1 × 1,000 CPU ms', title: 'CPU of the server, 1 user with 1,000', unit: 'ms' },
  ],
  env: { BENCH_REPLAY: '1' },
  adapterOf: wholeOf,
  async run(session) {
    if (session.adapter === 'carillon') await sendAll(session)
    else await insertAll(session)
    await query(session, 'vacuum analyze')
    const figures = {}
    for (const who of [many, one]) Object.assign(figures, await catchUp(session, who))
    return figures
  },
}

async function catchUp({ clients, measure, target }, { name, first, end, each, warmUps, times }) {
  const used = { server: 0, postgres: 0 }
  const tookMs = []
  for (let time = -warmUps; time < times; time++) {
    const deliveries = (end - first) * each
    const { result, cpu } = await measure(() => clients('catchUp', { target, first, end, deliveries }))
    await clients('disconnect')
    await sleep(betweenMs)
    if (time < 0) continue
    used.server += cpu.server / times
    used.postgres += cpu.postgres / times
    tookMs.push(result.ms)
  }
  return {
    [`${name} CPU ms`]: used.server,
    [`${name} PostgreSQL ms`]: used.postgres,
    [`${name} last has all ms`]: spread(tookMs).median,
  }
}

/** In the order in which they might have come: nobody's lie together. */
function all() {
  return [many, one].flatMap(({ first, end, each }) =>
    Array.from({ length: each }, (_, number) =>
      Array.from({ length: end - first }, (_, place) => ({
        userId: `user-${first + place}`,
        title: 'bench',
        body: `#${number}#${filler}`,
      })),
    ).flat(),
  )
}

async function sendAll({ clients, target }) {
  const mutation = `mutation ($inputs: [SendNotificationInput!]!) { sendNotifications(inputs: $inputs) { error { code } } }`
  const inputs = all()
  const calls = []
  for (let start = 0; start < inputs.length; start += 1_000) {
    const variables = { inputs: inputs.slice(start, start + 1_000) }
    calls.push({ user: 'service', scope: 'notifications:send', query: mutation, variables })
  }
  await clients('call', { target, calls })
}

async function insertAll(session) {
  const insert = `insert into notifications (id, user_id, title, body, created_at)
    select gen_random_uuid(), "userId", title, body, now() - interval '1 hour' + place * interval '1 millisecond'
    from rows from (json_to_recordset($1::json) as ("userId" text, title text, body text)) with ordinality
      as x("userId", title, body, place) order by place`
  await query(session, insert, [JSON.stringify(all())])
}

async function query({ databaseUrl }, text, values) {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  await client.query(text, values)
  await client.end()
}
