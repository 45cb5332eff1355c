// A PostgreSQL that flushes each commit to disk, and a Redis that keeps nothing: new for every run of every server.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { freePort, untilListening } from './ports.mjs'

if (!existsSync(new URL('../dist/main.js', import.meta.url))) throw new Error('build first: npm run build')
const load = (file) => import(`../dist/${file}.js`)
const { resolveDataDir } = await load('embedded-postgres-folders')
const { databaseUser, findPostmaster, openCluster, startPostmaster, stopPostmaster } =
  await load('embedded-postgres-postmaster')
const { preparePrograms } = await load('embedded-postgres-programs')

export async function startServices() {
  const folder = await mkdtemp(join(tmpdir(), 'carillon-bench-'))
  await chmod(folder, 0o755)
  const dataDir = join(folder, 'data')
  const silent = new Proxy({}, { get: () => () => {} })
  const { account } = await resolveDataDir({ dataDir, cwd: folder, uid: process.getuid?.() ?? -1, logger: silent })
  const programs = await preparePrograms(dataDir, account)
  const cluster = await openCluster({ dataDir, programs, account, durable: true, connectionsMax: 100 })
  const port = await freePort()
  await startPostmaster(cluster, port)
  let postmaster = await findPostmaster(cluster)
  while (!postmaster?.isReady) {
    await sleep(20)
    postmaster = await findPostmaster(cluster)
  }
  const databaseUrl = (name) => `postgres://${databaseUser}:${cluster.password}@127.0.0.1:${port}/${name}`
  const redisPort = await freePort()
  const redis = spawn('redis-server', ['--port', redisPort, '--bind', '127.0.0.1', '--save', '', '--dir', folder], {
    stdio: 'ignore',
  })
  await untilListening(redisPort)
  const client = new pg.Client({ connectionString: databaseUrl('postgres') })
  await client.connect()
  const { rows } = await client.query('show server_version')
  let databases = 0
  return {
    postgresVersion: rows[0].server_version,
    postgresPid: postmaster.pid,
    postgresLog: cluster.log,
    redisPid: redis.pid,
    redisUrl: `redis://127.0.0.1:${redisPort}`,
    /** Empty, but for the table of the peers. */
    async createDatabase() {
      const name = `bench_${++databases}`
      await client.query(`create database ${name}`)
      return databaseUrl(name)
    },
    async dropDatabase(url) {
      await client.query(`drop database ${new URL(url).pathname.slice(1)} with (force)`)
    },
    async close() {
      await client.end()
      redis.kill()
      await stopPostmaster(cluster)
      await rm(folder, { recursive: true, force: true, maxRetries: 10 })
    },
  }
}

/** So that nothing is left running where somebody interrupts. */
export function closeWhenInterrupted(services) {
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, async () => {
      await services.close().catch(console.error)
      process.exit(1)
    })
  }
}

/** The table of the peers: what a user has, oldest first. */
export async function createPeersTable(url) {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(`create table notifications (
    id uuid primary key, user_id text not null, title text not null, body text not null,
    created_at timestamptz not null, delivered_at timestamptz)`)
  await client.query('create index on notifications (user_id, created_at, id)')
  await client.end()
}
