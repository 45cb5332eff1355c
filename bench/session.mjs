// One server with a new database and new clients, for one workload: starts them, hands them over, ends them.
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { cpuMs, memoryBytes } from './processes.mjs'
import { documents } from './protocols.mjs'
import { createPeersTable } from './services.mjs'

/** A run that takes longer hangs. */
const deadlineMsDefault = 4 * 60_000
/** A server closes its connections one after the other, and writes its profile then. */
const endMsMax = 45_000

/**
 * Runs `work` with: `clients(command, options)`, `connect(users)`, `measure(work)`, which tells the CPU of the server, of
 * PostgreSQL and of Redis beside the result, `memory()` of the server, `databaseUrl`, and `target`, where the server is.
 * `database`: one that is there already, in the place of a new one.
 */
export async function withServer(options, work) {
  const { services, server, adapter, secret, env = {}, profile, database, deadlineMs = deadlineMsDefault } = options
  const databaseUrl = database ?? (await services.createDatabase())
  if (database === undefined && !adapter.startsWith('carillon')) await createPeersTable(databaseUrl)
  const profiling = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]
  const child = spawn(process.execPath, [...profiling, join(import.meta.dirname, 'adapters', `${adapter}.mjs`)], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      PATH: process.env.PATH,
      NODE_ENV: 'production',
      BENCH_DATABASE_URL: databaseUrl,
      BENCH_REDIS_URL: services.redisUrl,
      BENCH_JWT_SECRET: secret,
      ...server.env,
      ...env,
    },
  })
  const clientProcess = fork(join(import.meta.dirname, 'clients.mjs'), {
    env: { ...process.env, BENCH_JWT_SECRET: secret },
  })
  const childGone = once(child, 'exit')
  const clientsGone = once(clientProcess, 'exit')
  const deadline = after(deadlineMs)
  const failed = Promise.race([
    childGone.then(([status]) => fail(`${adapter} ended with ${status}`)),
    clientsGone.then(([status]) => fail(`the clients of ${adapter} ended with ${status}`)),
    deadline.passed.then(() => fail(`${adapter}: not done after ${deadlineMs / 1_000} s`)),
  ])
  failed.catch(() => {})
  try {
    const [line] = await Promise.race([once(createInterface({ input: child.stdout }), 'line'), failed])
    const { ports, control, pids, memoryPids } = JSON.parse(line)
    const target = { ports, control, protocol: server.protocol, document: server.document ?? documents.peer }
    const clients = async (command, options) => {
      const answered = once(clientProcess, 'message')
      clientProcess.send({ command, ...options })
      const [{ result, error }] = await Promise.race([answered, failed])
      if (error) fail(`${adapter}: ${error}`)
      return result
    }
    const used = () => ({
      server: cpuMs(pids),
      postgres: cpuMs([services.postgresPid]),
      redis: cpuMs([services.redisPid]),
    })
    const session = {
      adapter,
      databaseUrl,
      target,
      clients,
      connect: (users) => clients('connect', { users, target }),
      memory: () => memoryBytes(memoryPids),
      async measure(work) {
        const before = used()
        const result = await work()
        const after = used()
        const cpu = Object.fromEntries(Object.keys(before).map((part) => [part, after[part] - before[part]]))
        return { result, cpu }
      },
    }
    return await Promise.race([work(session), failed])
  } finally {
    deadline.clear()
    clientProcess.kill()
    child.stdin.end()
    const force = setTimeout(() => child.kill('SIGKILL'), endMsMax)
    await Promise.all([childGone, clientsGone])
    clearTimeout(force)
  }
}

function after(ms) {
  let timer
  const passed = new Promise((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  return { passed, clear: () => clearTimeout(timer) }
}

function fail(message) {
  throw new Error(message)
}
