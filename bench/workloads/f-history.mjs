// F: a page of the history, the newest and one from the middle, of tables of 200,000 and of 20,000,000 rows. A user has 200
// rows in both, spread over three weeks and lying apart from each other, as they would have come. The buffers are those of
// the very statements that the server runs: auto_explain logs them.
import { readFile, stat, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import pg from 'pg'
import { spread } from '../report.mjs'
import { createPeersTable } from '../services.mjs'
import { withServer } from '../session.mjs'

const rowsEach = 200
const sizes = [200_000, 20_000_000]
/** Of which pages are read. */
const usersAsked = 100
const warmUps = 15
const times = 5
/** With its indexes and its WAL a row takes 700 bytes at most. */
const bytesOfRow = 1_000
const weekMs = 7 * 24 * 3_600_000
const mondayMs = 4 * 24 * 3_600_000
const weeks = 3

const page = `nodes { id title body createdAt } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }`
const queries = {
  newest: `{ history(first: 20) { ${page} } }`,
  deep: `query ($after: String) { history(first: 20, after: $after) { ${page} } }`,
  half: `{ history(first: ${rowsEach / 2}) { pageInfo { endCursor } } }`,
}
/** What tells the statement of a page from others. */
const marks = { carillon: '"isOlder"', stock: 'order by created_at desc, id desc' }

export const f = {
  name: 'F',
  title: 'A page of 20 of the history, of 200,000 and of 20,000,000 rows',
  charts: [
    { figure: 'newest buffers at 20,000,000', title: 'Buffers of the newest page, of 20,000,000 rows', unit: '' },
    { figure: 'deep buffers at 20,000,000', title: 'Buffers of a page in the middle, of 20,000,000 rows', unit: '' },
    { figure: 'newest p50 ms at 20,000,000', title: 'The newest page, over HTTP', unit: 'ms' },
  ],
  // Minutes of loading, and nothing that varies.
  roundsMax: 1,
  adapterOf: ({ adapter }) => (marks[adapter] ? adapter : undefined),
  async measureServer(options) {
    const figures = {}
    for (const rows of sizes) {
      const { bavail, bsize } = await statfs(tmpdir())
      if (bavail * bsize < rows * bytesOfRow * 1.5) {
        console.error(`F: ${rows.toLocaleString('en')} rows are left out: too little free space in ${tmpdir()}`)
        continue
      }
      const database = await options.services.createDatabase()
      try {
        await loadRows({ ...options, database }, rows)
        const measured = await measurePages({ ...options, database }, rows)
        for (const [name, value] of Object.entries(measured)) figures[`${name} at ${rows.toLocaleString('en')}`] = value
      } finally {
        await options.services.dropDatabase(database)
      }
    }
    return figures
  },
}

async function measurePages(options, rows) {
  const { services, database, adapter } = options
  const users = Array.from(
    { length: usersAsked },
    (_, place) => `user-${place * Math.floor(rows / rowsEach / usersAsked)}`,
  )
  const figures = {}
  const callsOf = {}
  await withServer(options, async ({ clients, measure, target }) => {
    const half = users.map((user) => ({ user, query: queries.half }))
    const { answers } = await clients('call', { target, calls: half, keepAnswers: true })
    const cursors = answers.map((text) => /"endCursor":"([^"]+)"/.exec(text)[1])
    callsOf.newest = users.map((user) => ({ user, query: queries.newest }))
    callsOf.deep = users.map((user, place) => ({ user, query: queries.deep, variables: { after: cursors[place] } }))
    for (const [name, calls] of Object.entries(callsOf)) {
      await clients('call', { target, calls, times: warmUps })
      const { result, cpu } = await measure(() => clients('call', { target, calls, times }))
      const count = calls.length * times
      figures[`${name} p50 ms`] = result.p50Ms
      figures[`${name} CPU µs`] = (cpu.server * 1_000) / count
      figures[`${name} PostgreSQL µs`] = (cpu.postgres * 1_000) / count
    }
  })
  await explainFrom(database)
  await withServer(options, async ({ clients, target }) => {
    for (const [name, calls] of Object.entries(callsOf)) {
      // Only the second time: then everything that a session reads once has been read.
      await clients('call', { target, calls })
      const { size } = await stat(services.postgresLog)
      await clients('call', { target, calls })
      const log = (await readFile(services.postgresLog)).subarray(size).toString()
      figures[`${name} buffers`] = spread(buffersIn(log, marks[adapter])).median
    }
  })
  return figures
}

/** Sessions from now on log the plan of each statement with what it read. */
async function explainFrom(database) {
  const name = new URL(database).pathname.slice(1)
  await inDatabase(database, async (client) => {
    for (const setting of [
      "session_preload_libraries = 'auto_explain'",
      'auto_explain.log_min_duration = 0',
      'auto_explain.log_analyze = on',
      'auto_explain.log_buffers = on',
      'auto_explain.log_timing = off',
      "auto_explain.log_format = 'json'",
    ]) {
      // Has to be loaded before its settings are known to be a superuser's own.
      await client.query("load 'auto_explain'")
      await client.query(`alter database ${name} set ${setting}`)
    }
  })
}

function buffersIn(log, mark) {
  const plans = log.split(/^.*LOG:\s+duration: .* plan:\n/m).slice(1)
  const buffers = plans.flatMap((text) => {
    const lines = text.split('\n').filter((line) => line.startsWith('\t'))
    const { 'Query Text': query, Plan: plan } = JSON.parse(lines.join('\n'))
    return query.includes(mark) ? plan['Shared Hit Blocks'] + plan['Shared Read Blocks'] : []
  })
  if (buffers.length === 0) throw new Error('no plan was logged')
  return buffers
}

async function loadRows(options, rows) {
  const { database, adapter } = options
  const isOurs = adapter === 'carillon'
  // Starting makes the tables.
  if (isOurs) await withServer(options, () => Promise.resolve())
  else await createPeersTable(database)
  const thisWeek = Date.now() - ((Date.now() - mondayMs) % weekMs)
  const from = thisWeek - weeks * weekMs
  await inDatabase(database, async (client) => {
    await client.query("set maintenance_work_mem = '1GB'")
    await (isOurs ? loadOurs(client, rows, from) : loadPeers(client, rows, from))
    await client.query('vacuum analyze')
    await client.query('checkpoint')
  })
}

const instantOf = (from, rows) =>
  `to_timestamp((${from}::float8 + floor(i::float8 / ${rows} * ${weeks * weekMs})) / 1000)::timestamptz(3)`
const body = `'#' || i || '#' || repeat('x', 140)`

/** Partitions are filled first and attached then, which makes their indexes. */
async function loadOurs(client, rows, from) {
  const users = rows / rowsEach
  for (let week = 0; week < weeks; week++) {
    const [start, end] = [week, week + 1].map((number) => new Date(from + number * weekMs).toISOString())
    const table = `notifications_${start.slice(0, 10).replaceAll('-', '')}`
    const [first, last] = [week, week + 1].map((number) => Math.ceil((rows * number) / weeks))
    await client.query(`create table ${table} (like notifications including defaults including constraints)`)
    await client.query(`insert into ${table} (created_at, id, seq, priority, user_id, category, title, body)
      select ${instantOf(from, rows)}, gen_random_uuid(), i / ${users} + 1, 1, 'user-' || i % ${users}, 'general', 'bench', ${body}
      from generate_series(${first}, ${last - 1}) i`)
    await client.query(`alter table notifications attach partition ${table} for values from ('${start}') to ('${end}')`)
  }
  await client.query(`insert into inboxes (user_id, last_created_at, last_seq, undelivered, unseen, unread)
    select user_id, max(created_at), ${rowsEach}, ${rowsEach}, ${rowsEach}, ${rowsEach} from notifications group by user_id`)
}

async function loadPeers(client, rows, from) {
  const users = rows / rowsEach
  const { rows: indexes } = await client.query(
    `select indexname, indexdef from pg_indexes where tablename = 'notifications' and indexname <> 'notifications_pkey'`,
  )
  for (const { indexname } of indexes) await client.query(`drop index ${indexname}`)
  await client.query('alter table notifications drop constraint notifications_pkey')
  await client.query(`insert into notifications (id, user_id, title, body, created_at)
    select gen_random_uuid(), 'user-' || i % ${users}, 'bench', ${body}, ${instantOf(from, rows)}
    from generate_series(0, ${rows - 1}) i`)
  await client.query('alter table notifications add primary key (id)')
  for (const { indexdef } of indexes) await client.query(indexdef)
}

async function inDatabase(connectionString, work) {
  const client = new pg.Client({ connectionString })
  await client.connect()
  try {
    await work(client)
  } finally {
    await client.end()
  }
}
