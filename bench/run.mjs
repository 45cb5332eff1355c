// Carillon beside its peers: the same work for each, round after round, by turns. Needs `npm run build`, and `npm ci` here.
//   npm run bench                       all workloads, five rounds; writes results.json and docs/bench/*.svg
//   npm run bench -- --quick            D, A and C of three servers, one round, within two minutes
//   npm run bench -- --workload A,D     some workloads   --server stock,Carillon   some servers   --rounds 3
//   npm run bench -- --profile FOLDER   a CPU profile of each server
// What a workload does: workloads/. Who takes part: servers.mjs. One run: session.mjs. What must hold: goals.mjs.
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { writeCharts } from './charts.mjs'
import { judge, lineOf, printGoals } from './goals.mjs'
import { describeMachine, machineText } from './machine.mjs'
import { printTable, show, summarize } from './report.mjs'
import { servers } from './servers.mjs'
import { startServices } from './services.mjs'
import { withServer } from './session.mjs'
import { a } from './workloads/a-delivery.mjs'
import { b } from './workloads/b-broadcast.mjs'
import { c } from './workloads/c-connections.mjs'
import { d, dBatch, dWebSocket } from './workloads/d-send.mjs'
import { e } from './workloads/e-catch-up.mjs'
import { f } from './workloads/f-history.mjs'
import { g } from './workloads/g-idle.mjs'

const workloads = [a, b, c, d, dWebSocket, dBatch, e, f, g]
const quick = {
  workloads: ['D', 'A', 'C'],
  servers: ['bare ws', 'stock', 'Carillon', 'Carillon through Redis'],
  deadlineMs: 5 * 60_000,
}

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
const serverNames = values.server?.split(',') ?? (isQuick ? quick.servers : Object.keys(servers))
const workloadNames = values.workload?.split(',') ?? (isQuick ? quick.workloads : workloads.map(({ name }) => name))
const chosen = workloadNames.map((name) => workloads.find((workload) => workload.name === name))
const unknown = [...serverNames.filter((name) => !servers[name]), ...workloadNames.filter((_, index) => !chosen[index])]
if (unknown.length > 0) throw new Error(`unknown: ${unknown}`)
const isWhole = !isQuick && values.server === undefined && values.workload === undefined

const services = await startServices()
if (isQuick) setTimeout(giveUp, quick.deadlineMs, `not done after ${quick.deadlineMs / 60_000} minutes`).unref()
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, giveUp)
const machine = describeMachine(services)
console.error(machineText(machine))
const secret = randomBytes(32).toString('hex')
const runs = []
const failures = []
try {
  for (let round = 1; round <= rounds; round++) {
    for (const workload of chosen) if (round <= (workload.roundsMax ?? rounds)) await runRound(workload, round)
    if (isWhole) await save()
  }
} finally {
  await services.close()
}
console.log(machineText(machine))
for (const table of tables()) printTable(table)
const judged = judge(runs)
if (isQuick) for (const one of judged) console.log(lineOf(one))
else printGoals(judged)
if (isWhole) await writeCharts(tables(), machine)
for (const failure of failures) console.error(failure)
if (failures.length > 0) process.exitCode = 1

/** What was started must not outlive this process. The servers end with it by themselves. */
async function giveUp(reason) {
  console.error(reason)
  await services.close().catch(console.error)
  process.exit(1)
}

async function runRound(workload, round) {
  for (const name of serverNames) {
    const adapter = workload.adapterOf(servers[name])
    if (adapter === undefined || servers[name].workloads?.includes(workload.name) === false) continue
    const options = { services, server: servers[name], adapter, secret, env: workload.env, profile: values.profile }
    try {
      const figures = workload.measureServer
        ? await workload.measureServer(options)
        : await withServer(options, (session) => workload.run({ ...session, isQuick }))
      runs.push({ workload: workload.name, server: name, round, figures })
      console.error(`${workload.name} ${round}/${rounds} ${name}: ${show(figures)}`)
    } catch (error) {
      // The others go on: a whole run takes hours.
      failures.push(`${workload.name} ${round}/${rounds} ${name}: ${error.message}`)
      console.error(failures.at(-1))
    }
  }
}

function tables() {
  return chosen.map(({ name, title, charts, beside }) => {
    const rows = summarize(runs, name, serverNames)
    const other = beside && summarize(runs, beside.workload, [beside.server])[beside.server]
    return { workload: name, title, charts, servers: other ? { [beside.name]: other, ...rows } : rows }
  })
}

async function save() {
  const file = join(import.meta.dirname, 'results.json')
  const results = { date: new Date(), machine, goals: judge(runs), summary: tables(), runs }
  await writeFile(file, `${JSON.stringify(results, null, 1)}\n`)
}
