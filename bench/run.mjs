// Carillon beside its peers: the same work for each, round after round, by turns. Needs `npm run build`, and here `npm ci`.
//   npm run bench                       all workloads, five rounds; writes results.json
//   npm run bench -- --quick            A, C and D of three servers, one round
//   npm run bench -- --workload A       one workload   --server stock,Carillon   some servers   --rounds 3
//   npm run bench -- --profile FOLDER   a CPU profile of each server
import { fork, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { cpuMs, memoryBytes } from './processes.mjs'
import { documents } from './protocols.mjs'
import { createPeersTable, startServices } from './services.mjs'

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    workload: { type: 'string' },
    server: { type: 'string' },
    profile: { type: 'string' },
  },
})
const isQuick = values.quick
const rounds = Number(values.rounds ?? (isQuick ? 1 : 5))

/** `delivery`: what A measures, where that is not the whole server. */
const servers = {
  'bare ws': { adapter: 'bare-ws', protocol: 'plain' },
  'ws + Redis': { adapter: 'ws-redis', protocol: 'plain' },
  'Socket.IO': { adapter: 'socket-io', protocol: 'socket.io' },
  Mercurius: { adapter: 'mercurius', protocol: 'graphql' },
  Apollo: { adapter: 'apollo', protocol: 'graphql' },
  stock: { adapter: 'stock', protocol: 'graphql' },
  Carillon: { adapter: 'carillon', delivery: 'carillon-delivery', protocol: 'graphql', document: documents.carillon },
  'Carillon in process': {
    delivery: 'carillon-delivery',
    env: { BENCH_BUS: 'memory' },
    protocol: 'graphql',
    document: documents.carillon,
  },
}

const workloads = {
  A: {
    title: 'One delivery of 300 bytes, 2,000 users, 64 under way',
    adapterOf: ({ delivery, adapter }) => delivery ?? adapter,
    async run({ clients, measure, connect }) {
      await connect(2_000)
      await clients('publish', { count: isQuick ? 5_000 : 10_000, underWay: 64 })
      const count = isQuick ? 10_000 : 40_000
      const { result, cpu } = await measure(() => clients('publish', { count, underWay: 64 }))
      return {
        'CPU µs': (cpu.server * 1_000) / count,
        'Redis µs': (cpu.redis * 1_000) / count,
        'a second': result.perSecond,
        'p50 ms': result.p50Ms,
        'p99 ms': result.p99Ms,
      }
    },
  },
  C: {
    title: `Memory and CPU of a connection, ${isQuick ? '2,000' : '10,000'} users`,
    adapterOf: ({ adapter }) => adapter,
    async run({ measure, connect, pids }) {
      const users = isQuick ? 2_000 : 10_000
      const before = memoryBytes(pids)
      const { result, cpu } = await measure(() => connect(users))
      return {
        'KB each': (memoryBytes(pids) - before) / users / 1_000,
        'CPU µs to connect': (cpu.server * 1_000) / users,
        'connected a second': (users / result.ms) * 1_000,
      }
    },
  },
  D: {
    title: 'A send over HTTP, committed and delivered, 64 callers, 1,000 users',
    adapterOf: ({ adapter }) => adapter,
    async run({ clients, measure, connect }) {
      await connect(1_000)
      await clients('send', { count: isQuick ? 1_000 : 3_000, underWay: 64 })
      const count = isQuick ? 3_000 : 10_000
      const { result, cpu } = await measure(() => clients('send', { count, underWay: 64 }))
      return {
        'CPU µs': (cpu.server * 1_000) / count,
        'PostgreSQL µs': (cpu.postgres * 1_000) / count,
        'Redis µs': (cpu.redis * 1_000) / count,
        'a second': result.perSecond,
        'p50 ms': result.p50Ms,
        'p99 ms': result.p99Ms,
      }
    },
  },
}

const chosenServers = values.server?.split(',') ?? (isQuick ? ['bare ws', 'stock', 'Carillon'] : Object.keys(servers))
const chosenWorkloads = values.workload?.split(',') ?? Object.keys(workloads)
const unknown = [
  ...chosenServers.filter((name) => !servers[name]),
  ...chosenWorkloads.filter((name) => !workloads[name]),
]
if (unknown.length > 0) throw new Error(`unknown: ${unknown}`)
const secret = randomBytes(32).toString('hex')
const profiling = values.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${values.profile}`]
const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version }

const services = await startServices()
const runs = []
try {
  await runAll()
} finally {
  await services.close()
}
const summary = chosenWorkloads.map((name) => ({
  workload: name,
  title: workloads[name].title,
  servers: medians(name),
}))
for (const { workload, title, servers: rows } of summary) printTable(workload, title, rows)
if (!isQuick) {
  const file = join(import.meta.dirname, 'results.json')
  const postgres = services.version
  await writeFile(
    file,
    `${JSON.stringify({ date: new Date(), machine: { ...machine, postgres }, summary, runs }, null, 1)}\n`,
  )
}

async function runAll() {
  for (let round = 1; round <= rounds; round++) {
    for (const name of chosenWorkloads) {
      for (const server of chosenServers) {
        const adapter = workloads[name].adapterOf(servers[server])
        if (adapter === undefined) continue
        const figures = await runOne(workloads[name], servers[server], adapter)
        runs.push({ workload: name, server, round, figures })
        console.error(`${name} ${round}/${rounds} ${server}: ${show(figures)}`)
      }
    }
  }
}

/** A new server, a new database and new clients. */
async function runOne(workload, { protocol, document = documents.peer, env = {} }, adapter) {
  const databaseUrl = await services.createDatabase()
  if (!adapter.startsWith('carillon')) await createPeersTable(databaseUrl)
  const server = spawn(process.execPath, [...profiling, join(import.meta.dirname, 'adapters', `${adapter}.mjs`)], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      PATH: process.env.PATH,
      NODE_ENV: 'production',
      BENCH_DATABASE_URL: databaseUrl,
      BENCH_REDIS_URL: services.redisUrl,
      BENCH_JWT_SECRET: secret,
      ...env,
    },
  })
  const clientProcess = fork(join(import.meta.dirname, 'clients.mjs'), {
    env: { ...process.env, BENCH_JWT_SECRET: secret },
  })
  const gone = once(server, 'exit').then(([status]) => Promise.reject(new Error(`${adapter} ended with ${status}`)))
  gone.catch(() => {})
  try {
    const [line] = await Promise.race([once(createInterface({ input: server.stdout }), 'line'), gone])
    const { port, control, pids } = JSON.parse(line)
    const clients = async (command, options) => {
      clientProcess.send({ command, ...options })
      const [{ result, error }] = await Promise.race([once(clientProcess, 'message'), gone])
      if (error) throw new Error(`${adapter}: ${error}`)
      return result
    }
    const used = () => ({
      server: cpuMs(pids),
      postgres: cpuMs([services.postgresPid]),
      redis: cpuMs([services.redisPid]),
    })
    return await workload.run({
      clients,
      pids,
      connect: (users) => clients('connect', { users, port, control, protocol, document }),
      async measure(work) {
        const before = used()
        const result = await work()
        const after = used()
        const cpu = Object.fromEntries(Object.keys(before).map((part) => [part, after[part] - before[part]]))
        return { result, cpu }
      },
    })
  } finally {
    clientProcess.kill()
    server.stdin.end()
    await gone.catch(() => {})
  }
}

/** Of each figure: the median, the least and the most. */
function medians(workload) {
  const rows = {}
  for (const server of chosenServers) {
    const all = runs.filter((run) => run.workload === workload && run.server === server).map(({ figures }) => figures)
    if (all.length === 0) continue
    const entries = Object.keys(all[0]).map((key) => {
      const ascending = all.map((figures) => figures[key]).sort((a, b) => a - b)
      return [key, { median: ascending[ascending.length >> 1], least: ascending[0], most: ascending.at(-1) }]
    })
    rows[server] = Object.fromEntries(entries)
  }
  return rows
}

function printTable(workload, title, rows) {
  console.log(`\n${workload}. ${title}\n`)
  const [first = {}] = Object.values(rows)
  const keys = Object.keys(first)
  console.log(`| | ${keys.join(' | ')} |\n| --- |${keys.map(() => ' --: |').join('')}`)
  for (const [server, figures] of Object.entries(rows)) {
    console.log(`| ${server} | ${keys.map((key) => cell(figures[key])).join(' | ')} |`)
  }
}

function cell({ median, least, most }) {
  return least === most ? round(median) : `${round(median)} (${round(least)} to ${round(most)})`
}

function show(figures) {
  return Object.entries(figures)
    .map(([key, value]) => `${key} ${round(value)}`)
    .join(', ')
}

function round(value) {
  return value >= 100 ? Math.round(value).toLocaleString('en') : value.toFixed(1)
}
