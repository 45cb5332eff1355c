// The whole program, as it is installed, over the same PostgreSQL and Redis: one instance, or BENCH_INSTANCES of them.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { ready } from './common.mjs'

const instances = Number(process.env.BENCH_INSTANCES ?? 1)
// One by one: the first migrates the database.
const started = []
for (let instance = 0; instance < instances; instance++) started.push(await start())
ready({ ports: started.map(({ port }) => port), pids: started.map(({ pid }) => pid) })

/** Resolves when it takes requests. With a profile where this process has one. */
function start() {
  const child = spawn(process.execPath, [...process.execArgv, join(import.meta.dirname, '../../dist/main.js')], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      PATH: process.env.PATH,
      NODE_ENV: process.env.NODE_ENV,
      PORT: '0',
      HOST: '127.0.0.1',
      DATABASE_URL: process.env.BENCH_DATABASE_URL,
      REDIS_URL: process.env.BENCH_REDIS_URL,
      CARILLON_JWT_SECRET: process.env.BENCH_JWT_SECRET,
      CARILLON_MAX_CONNECTIONS: '50000',
      ...(process.env.BENCH_CHANNELS && { CARILLON_BUS_CHANNELS: process.env.BENCH_CHANNELS }),
    },
  })
  process.on('exit', () => child.kill())
  child.on('exit', (status) => {
    console.error(`an instance ended with ${status}`)
    process.exit(1)
  })
  return new Promise((resolve) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const { msg, url } = JSON.parse(line)
      if (msg === 'the server is ready') resolve({ port: Number(new URL(url).port), pid: child.pid })
    })
  })
}
