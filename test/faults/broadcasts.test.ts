// A broadcast whose servers are killed, again and again, while others send to the same users: in the end everybody has it
// once, the numbers say so exactly, and nobody's log has a gap.
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { broadcastToken, finished, read, started, userName } from '../support/broadcasts.ts'
import { type FaultFleet, startFaultFleet } from './support/fleet.ts'
import { figure, sized } from './support/scale.ts'
import { Writers } from './support/writers.ts'

const users = sized(40_000, 100_000)
const kills = sized(3, 10)
/** Users whom others send to meanwhile: spread over all. */
const contended = 2_000
/** Kills come at random before so much of it is done. */
const killedBefore = 0.6
const resumeMsMax = 10_000

let fleet: FaultFleet
beforeAll(async () => {
  fleet = await startFaultFleet({ instances: 2, env: { CARILLON_BROADCAST_BATCH: '500' } })
})
afterAll(() => fleet[Symbol.asyncDispose]())

test('killed at random: one row a user, no gap in any log, exact totals, no deadlock', {
  timeout: 600_000,
}, async () => {
  const { postgres } = fleet
  await postgres.query(
    `insert into users (id, name, locale) select 'u' || lpad(n::text, 6, '0'), 'User ' || n, (array['en', 'de-AT', null])[1 + n % 3]
    from generate_series(1, $1::int) n`,
    [users],
  )
  const token = await broadcastToken()
  const template = {
    key: 'news',
    translations: [
      { locale: 'en', title: 'News for {{ userName }}' },
      { locale: 'de', title: 'Neues für {{ userName }}' },
    ],
  }
  const mutation = 'mutation ($input: TemplateInput!) { upsertTemplate(input: $input) { key } }'
  const saved = await fetch(`${fleet.instance(0).url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify({ query: mutation, variables: { input: template } }),
  })
  expect(await saved.json()).toEqual({ data: { upsertTemplate: { key: 'news' } } })

  const resumedMs: number[] = []
  let turn = 0
  const writers = new Writers({
    userIds: Array.from({ length: contended }, (_, index) => userName(1 + index * Math.floor(users / contended))),
    nextUrl: () => fleet.instance(turn++).url,
    perSecond: 100,
    input: { category: 'direct' },
  })
  const { id } = await started(fleet.instance(0).url, token, { template: { key: 'news' } })
  const moments = Array.from({ length: kills }, () => Math.random() * killedBefore * users).sort((a, b) => a - b)
  for (const [kill, moment] of moments.entries()) {
    const victim = fleet.instance(kill)
    const survivor = fleet.instance(kill + 1)
    const sentBy = async () => (await read(survivor.url, token, id)).sent
    while ((await sentBy()) < moment) await sleep(5)
    await victim.kill()
    const sent = await sentBy()
    // Whoever is left goes on by itself, within seconds.
    const killedAt = performance.now()
    while (sent < users && (await sentBy()) === sent) {
      expect(performance.now() - killedAt).toBeLessThan(resumeMsMax)
      await sleep(20)
    }
    resumedMs.push(performance.now() - killedAt)
    await victim.start()
  }
  const done = await finished(fleet.instance(0).url, token, id, 300_000)
  await writers.stop()
  expect(done).toMatchObject({ status: 'COMPLETED', total: users, sent: users, failed: 0, skipped: 0, progress: 1 })
  const [counts] = await postgres.query<Counts>(countStatement)
  expect(counts).toEqual({ rows: users, users, gaps: 0, direct: writers.accepted.length, miscounted: 0, deadlocks: 0 })
  expect(writers.defects).toEqual([])
  expect([...writers.failures.keys()].filter((code) => code !== 'network' && code !== 'UNAVAILABLE')).toEqual([])
  expect(fleet.instances.flatMap(({ defects }) => defects)).toEqual([])
  figure('26. Broadcast killed', {
    users,
    kills,
    'went on after ms at most': Math.max(...resumedMs),
    'direct sends': writers.accepted.length,
  })
})

interface Counts {
  rows: number
  users: number
  gaps: number
  direct: number
  miscounted: number
  deadlocks: number
}

const countStatement = `
select (select count(*) from notifications where category = 'general')::int as rows,
  (select count(distinct user_id) from notifications where category = 'general')::int as users,
  (select count(*) from (
    select b.user_id from inboxes b join notifications n on n.user_id = b.user_id
    group by b.user_id, b.last_seq
    having count(*) <> b.last_seq or count(distinct n.seq) <> b.last_seq or min(n.seq) <> 1 or max(n.seq) <> b.last_seq) g)::int
    as gaps,
  (select count(*) from notifications where category = 'direct')::int as direct,
  (select count(*) from inboxes where undelivered <> last_seq or unread <> last_seq)::int as miscounted,
  (select sum(deadlocks) from pg_stat_database)::int as deadlocks`
