// What a broadcast costs, and what it does to direct sends beside it: two whole instances over one PostgreSQL and one Redis.
//   node bench/broadcasts.mjs                         both parts; writes broadcasts.json
//   node bench/broadcasts.mjs --part cost             or latency   --users 1000000   --rounds 1
// cost: a template in three languages to all users, beside the same rows as bare multi-row inserts.
// latency: direct sends at a steady pace, alone, beside a broadcast, and beside processes that burn as much CPU.
import { spawn } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { signToken } from '../dist/token.js'
import { describeMachine, machineText } from './machine.mjs'
import { cpuMs } from './processes.mjs'
import { printTable, show, summarize } from './report.mjs'
import { servers } from './servers.mjs'
import { closeWhenInterrupted, startServices } from './services.mjs'
import { withServer } from './session.mjs'

const { values } = parseArgs({
  options: {
    part: { type: 'string', default: 'cost,latency' },
    users: { type: 'string', default: '1000000' },
    rounds: { type: 'string', default: '1' },
  },
})
const parts = values.part.split(',')
const usersMany = Number(values.users)
const usersFew = 10_000
/** So that a small broadcast can be measured. */
const repeatsFew = 5
const rowsPerInsert = 256
const insertersSideBySide = 2
const sendsPerSecond = 200
const latencySeconds = 20
const deadlineMs = 20 * 60_000
const bodyText =
  'Something has happened that may be of interest to you. Have a look at it when you find the time. '.repeat(2)

const services = await startServices()
closeWhenInterrupted(services)
const machine = describeMachine(services)
const secret = randomBytes(32).toString('hex')
const scopes = ['notifications:send', 'templates:write', 'broadcasts:read', 'broadcasts:write']
const token = await signToken({ secret, sub: 'bench', scopes, ttlSeconds: 24 * 3600 })
const agent = new Agent({ keepAlive: true })
const runs = []
try {
  for (let round = 1; round <= Number(values.rounds); round++) {
    if (parts.includes('cost')) {
      await record(round, 'cost', named(usersFew), () => measureBroadcast(usersFew, repeatsFew))
      await record(round, 'cost', `${named(usersMany)}, bare inserts`, () => measureBare(usersMany))
      await record(round, 'cost', named(usersMany), () => measureBroadcast(usersMany, 1))
    }
    if (parts.includes('latency'))
      for (const [name, figures] of await measureLatency()) await record(round, 'latency', name, () => figures)
  }
} finally {
  await services.close()
}
const titles = {
  cost: 'A template in three languages, two instances',
  latency: `Direct sends, ${sendsPerSecond} a second to users of the broadcast`,
}
const summary = parts.map((part) => {
  const names = [...new Set(runs.filter(({ workload }) => workload === part).map(({ server }) => server))]
  return { workload: part, title: titles[part], servers: summarize(runs, part, names) }
})
console.log(machineText(machine))
for (const table of summary) printTable(table)
if (parts.length === 2) {
  const file = join(import.meta.dirname, 'broadcasts.json')
  await writeFile(file, `${JSON.stringify({ date: new Date(), machine, summary, runs }, null, 1)}\n`)
}

function named(users) {
  return `${users.toLocaleString('en')} users`
}

async function record(round, workload, server, measure) {
  const figures = await measure()
  runs.push({ workload, server, round, figures })
  console.error(`${workload} ${round} ${server}: ${show(figures)}`)
}

function measureBroadcast(users, repeats) {
  return withInstances(async ({ measure, memory, database, url }) => {
    await seed(database, users)
    await saveTemplate(url)
    // Everything has been loaded and compiled.
    await broadcast(url, database, 100)
    const idleBytes = memory()
    let mostBytes = 0
    const watch = setInterval(() => {
      mostBytes = Math.max(mostBytes, memory())
    }, 250)
    let seconds = 0
    const cpu = { server: 0, postgres: 0, redis: 0 }
    for (let repeat = 0; repeat < repeats; repeat++) {
      await database.query('truncate notifications, inboxes')
      const start = performance.now()
      const measured = await measure(() => broadcast(url, database, users))
      seconds += (performance.now() - start) / 1_000
      for (const part of Object.keys(cpu)) cpu[part] += measured.cpu[part]
    }
    clearInterval(watch)
    const us = (ms) => (ms * 1_000) / (users * repeats)
    return {
      'users a second': (users * repeats) / seconds,
      'µs a user': us(seconds * 1_000),
      'CPU µs': us(cpu.server),
      'PostgreSQL µs': us(cpu.postgres),
      'Redis µs': us(cpu.redis),
      'MB above idle, both': (mostBytes - idleBytes) / 1e6,
    }
  })
}

/** The same rows, the inboxes too, into the same tables, with the same indexes: by two connections side by side. */
function measureBare(users) {
  return withInstances(async ({ database, url }) => {
    const clients = await Promise.all(Array.from({ length: insertersSideBySide }, () => connect(database.url)))
    // Both instances stay, idle, as they are in the other run.
    await fetch(`${url}/livez`)
    const cpuBefore = { node: process.cpuUsage(), postgres: cpuMs([services.postgresPid]) }
    const start = performance.now()
    let next = 1
    await Promise.all(
      clients.map(async (client) => {
        while (next <= users) {
          const first = next
          next += rowsPerInsert
          await insertBare(client, first, Math.min(rowsPerInsert, users - first + 1))
        }
      }),
    )
    const seconds = (performance.now() - start) / 1_000
    const { user, system } = process.cpuUsage(cpuBefore.node)
    await Promise.all(clients.map((client) => client.end()))
    return {
      'users a second': users / seconds,
      'µs a user': (seconds * 1e6) / users,
      'CPU µs': (user + system) / users,
      'PostgreSQL µs': ((cpuMs([services.postgresPid]) - cpuBefore.postgres) * 1_000) / users,
    }
  })
}

async function insertBare(client, first, count) {
  const now = new Date()
  const numbers = Array.from({ length: count }, (_, index) => first + index)
  const list = (columns) =>
    numbers.map((_, row) => `(${Array.from({ length: columns }, (_, column) => `$${row * columns + column + 1}`)})`)
  await client.query({
    name: `inboxes-${count}`,
    text: `insert into inboxes (user_id, last_seq, last_created_at, undelivered, unseen, unread) values ${list(6)}`,
    values: numbers.flatMap((number) => [idOf(number), 1, now, 1, 1, 1]),
  })
  await client.query({
    name: `notifications-${count}`,
    text: `insert into notifications (id, user_id, seq, category, title, body, data, url, priority, expires_at, created_at)
      values ${list(11)}`,
    values: numbers.flatMap((number) => [
      randomUUID(),
      idOf(number),
      1,
      'general',
      `Hello User ${number}, there is news`,
      bodyText,
      null,
      `/news?user=${idOf(number)}`,
      1,
      null,
      now,
    ]),
  })
}

/** Alone, beside a broadcast, and beside what burns as much. */
function measureLatency() {
  return withInstances(async ({ measure, database, url }) => {
    await seed(database, usersMany)
    await saveTemplate(url)
    await broadcast(url, database, 100)
    await sendSteadily(url, 5)
    const idle = await sendSteadily(url, latencySeconds)
    const { id } = await start(url, usersMany)
    await sleep(1_000)
    const { result: beside, cpu } = await measure(() => sendSteadily(url, latencySeconds))
    const { status } = await read(url, id)
    if (status !== 'RUNNING') throw new Error('the broadcast was over too soon: take more --users')
    await cancel(url, id)
    await sleep(2_000)
    const { cpu: own } = await measure(() => sendSteadily(url, latencySeconds))
    const cores =
      (cpu.server + cpu.postgres + cpu.redis - own.server - own.postgres - own.redis) / (latencySeconds * 1_000)
    const burners = [0, 1].map(() => burn(cores / 2))
    const burning = await sendSteadily(url, latencySeconds)
    for (const burner of burners) burner.kill()
    return [
      ['alone', idle],
      ['beside a broadcast', { ...beside, cores }],
      ['beside as much CPU', { ...burning, cores }],
    ]
  })
}

/** A process that is busy for this share of the time. */
function burn(share) {
  const code = `const slice = 10
    setInterval(() => { const end = performance.now() + slice * ${share}; while (performance.now() < end); }, slice)`
  return spawn(process.execPath, ['-e', code], { stdio: 'ignore' })
}

/** Open loop: each has its moment, however long the ones before take. */
async function sendSteadily(url, seconds) {
  const query = 'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { duplicate } }'
  const took = []
  const sends = []
  const startAt = performance.now()
  for (let sent = 0; sent < seconds * sendsPerSecond; sent++) {
    const at = startAt + (sent * 1_000) / sendsPerSecond
    const waitMs = at - performance.now()
    if (waitMs > 1) await sleep(waitMs)
    const userId = idOf(1 + Math.floor(Math.random() * usersMany))
    sends.push(
      call(url, query, { input: { userId, title: 'Hello', body: 'x'.repeat(200), category: 'direct' } }).then(() => {
        took.push(performance.now() - at)
      }),
    )
  }
  await Promise.all(sends)
  took.sort((a, b) => a - b)
  const quantile = (share) => took[Math.min(took.length - 1, Math.floor(took.length * share))]
  return { 'p50 ms': quantile(0.5), 'p99 ms': quantile(0.99), 'most ms': took.at(-1) }
}

function withInstances(work) {
  const server = servers.Carillon
  const env = { BENCH_INSTANCES: '2' }
  return withServer({ services, server, adapter: server.adapter, secret, env, deadlineMs }, async (session) => {
    const database = await connect(session.databaseUrl)
    database.url = session.databaseUrl
    try {
      return await work({ ...session, database, url: `http://127.0.0.1:${session.target.ports[0]}` })
    } finally {
      await database.end()
    }
  })
}

async function connect(url) {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  return client
}

function idOf(number) {
  return `user-${String(number).padStart(9, '0')}`
}

async function seed(database, users) {
  await database.query(
    `insert into users (id, name, locale, time_zone, attributes)
    select 'user-' || lpad(n::text, 9, '0'), 'User ' || n, (array['en', 'de-AT', 'pt-BR', null])[1 + n % 4], 'Europe/Vienna',
      jsonb_build_object('plan', (array['free', 'pro'])[1 + n % 2], 'n', n)
    from generate_series(1, $1::int) n`,
    [users],
  )
  await database.query('analyze users')
}

async function saveTemplate(url) {
  const translation = (locale, title) => ({ locale, title, body: bodyText, url: '/news?user={{ user.id }}' })
  await call(url, 'mutation ($input: TemplateInput!) { upsertTemplate(input: $input) { key } }', {
    input: {
      key: 'news',
      translations: [
        translation('en', 'Hello {{ userName }}, there is {{ variables.what }}'),
        translation('de', 'Hallo {{ userName }}, es gibt {{ variables.what }}'),
        translation('pt', 'Olá {{ userName }}, há {{ variables.what }}'),
      ],
    },
  })
}

/** To the first so many. */
async function start(url, users) {
  const mutation = 'mutation ($input: BroadcastNotificationInput!) { broadcastNotification(input: $input) { id } }'
  const segment =
    users === 100 ? { userIds: Array.from({ length: users }, (_, index) => idOf(index + 1)) } : { everyone: true }
  const input = { segment, template: { key: 'news', variables: { what: 'news' } } }
  return (await call(url, mutation, { input })).broadcastNotification
}

async function broadcast(url, database, users) {
  const { id } = await start(url, users)
  for (;;) {
    const { rows } = await database.query('select status, error from broadcasts where id = $1', [id])
    if (rows[0].status === 'COMPLETED') break
    if (rows[0].status === 'FAILED') throw new Error(rows[0].error)
    await sleep(20)
  }
  const { sent } = await read(url, id)
  if (sent !== users) throw new Error(`${sent} of ${users} were sent to`)
}

async function read(url, id) {
  return (await call(url, 'query ($id: ID!) { broadcast(id: $id) { status sent } }', { id })).broadcast
}

function cancel(url, id) {
  return call(url, 'mutation ($id: ID!) { cancelBroadcast(id: $id) { id } }', { id })
}

function call(url, query, variables) {
  const body = JSON.stringify({ query, variables })
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${token}` }
  return new Promise((resolve, reject) => {
    const sent = request(`${url}/graphql`, { method: 'POST', agent, headers }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part) => {
        text += part
      })
      response.on('end', () => {
        const { data, errors } = JSON.parse(text)
        if (errors) reject(new Error(text))
        else resolve(data)
      })
    })
    sent.on('error', reject).end(body)
  })
}
