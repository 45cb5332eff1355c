// What a send and a delivery cost as the fleet and the number of connected users grow: whole instances over one PostgreSQL
// and one Redis, users and callers spread over them evenly. CPU is that of all instances together.
//   node bench/scaling.mjs                      all, three rounds; writes scaling.json
//   node bench/scaling.mjs --part instances     or users, or channels   --rounds 1
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { describeMachine, machineText } from './machine.mjs'
import { printTable, show, summarize } from './report.mjs'
import { servers } from './servers.mjs'
import { closeWhenInterrupted, startServices } from './services.mjs'
import { withServer } from './session.mjs'
import { warmUp } from './warm-up.mjs'

/** A fleet grows because more is sent: each instance has as many. */
const callersEach = 64
const count = 10_000
const usersDefault = 1_000
const named = (instances) => (instances === 1 ? '1 instance' : `${instances} instances`)

const parts = {
  instances: {
    title: 'By instances, 1,000 users',
    cases: [1, 2, 4].map((instances) => ({ name: named(instances), instances })),
  },
  users: {
    title: 'By connected users, one instance',
    cases: [100, 1_000, 10_000].map((users) => ({ name: `${users.toLocaleString('en')} users`, users })),
  },
  channels: {
    title: 'By CARILLON_BUS_CHANNELS, 1,000 users',
    cases: [1, 2, 4].flatMap((instances) =>
      [1, 8, 64, 1_024].map((channels) => ({
        name: `${named(instances)}, ${channels.toLocaleString('en')} channels`,
        instances,
        channels,
      })),
    ),
  },
}

const { values } = parseArgs({ options: { part: { type: 'string' }, rounds: { type: 'string', default: '3' } } })
const chosen = values.part?.split(',') ?? Object.keys(parts)
const unknown = chosen.filter((part) => !parts[part])
if (unknown.length > 0) throw new Error(`unknown: ${unknown}`)
const rounds = Number(values.rounds)

const services = await startServices()
closeWhenInterrupted(services)
const machine = describeMachine(services)
const secret = randomBytes(32).toString('hex')
const runs = []
try {
  for (let round = 1; round <= rounds; round++) {
    for (const part of chosen) {
      for (const { name, ...size } of parts[part].cases) {
        const figures = await measureCase(size)
        runs.push({ workload: part, server: name, round, figures })
        console.error(`${part} ${round}/${rounds} ${name}: ${show(figures)}`)
      }
    }
  }
} finally {
  await services.close()
}
const summary = chosen.map((part) => {
  const { title, cases } = parts[part]
  const names = cases.map(({ name }) => name)
  return { workload: part, title, servers: summarize(runs, part, names) }
})
console.log(machineText(machine))
for (const table of summary) printTable(table)
if (values.part === undefined) {
  const file = join(import.meta.dirname, 'scaling.json')
  await writeFile(file, `${JSON.stringify({ date: new Date(), machine, summary, runs }, null, 1)}\n`)
}

/** First nobody listens, so that a delivery can be told from a send. */
function measureCase({ instances = 1, users = usersDefault, channels }) {
  const env = { BENCH_INSTANCES: String(instances), ...(channels && { BENCH_CHANNELS: String(channels) }) }
  const server = servers.Carillon
  return withServer({ services, server, adapter: server.adapter, secret, env }, async (session) => {
    const { clients, connect, measure, target } = session
    const send = (many) => clients('send', { target, users, count: many, underWay: callersEach * instances })
    const warm = () => warmUp(session, { stretch: 5_000, least: 5_000 * (instances + 1), most: 30_000 }, send)
    await warm()
    const alone = await measure(() => send(count))
    await connect(users)
    await warm()
    const delivered = await measure(() => send(count))
    const us = (cpu) => (cpu * 1_000) / count
    return {
      'send µs': us(alone.cpu.server),
      'delivery µs': us(delivered.cpu.server - alone.cpu.server),
      'both µs': us(delivered.cpu.server),
      'PostgreSQL µs': us(delivered.cpu.postgres),
      'Redis µs': us(delivered.cpu.redis),
      'a second': delivered.result.perSecond,
      'p99 ms': delivered.result.p99Ms,
    }
  })
}
