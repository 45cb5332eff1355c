// The whole program, as it is installed, over the same PostgreSQL and Redis.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { ready } from './common.mjs'

// With a profile where this process has one.
const child = spawn(process.execPath, [...process.execArgv, join(import.meta.dirname, '../../dist/main.js')], {
  stdio: ['ignore', 'pipe', 'inherit'],
  env: {
    PATH: process.env.PATH,
    PORT: '0',
    HOST: '127.0.0.1',
    DATABASE_URL: process.env.BENCH_DATABASE_URL,
    REDIS_URL: process.env.BENCH_REDIS_URL,
    CARILLON_JWT_SECRET: process.env.BENCH_JWT_SECRET,
    CARILLON_MAX_CONNECTIONS: '50000',
  },
})
process.on('exit', () => child.kill())
createInterface({ input: child.stdout }).on('line', (line) => {
  const { msg, url } = JSON.parse(line)
  if (msg === 'the server is ready') ready({ port: Number(new URL(url).port), pids: [child.pid] })
})
