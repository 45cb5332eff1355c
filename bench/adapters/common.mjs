// What the adapters share: the environment, the check of a token, the one INSERT of a send, the line that says ready.
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { Redis } from 'ioredis'
import { jwtVerify } from 'jose'
import pg from 'pg'

const key = new TextEncoder().encode(process.env.BENCH_JWT_SECRET)

/** Whether users hear, beside what is their own, what goes to all (workload B). */
export const hasBroadcasts = process.env.BENCH_BROADCAST === '1'

/** Whether a subscription begins with what was not delivered yet (workload E). */
export const hasReplay = process.env.BENCH_REPLAY === '1'

/** The claims of `Bearer <token>`. Throws where the token is not valid. */
export async function claimsOf(authorization) {
  const { payload } = await jwtVerify(String(authorization ?? '').replace(/^Bearer /, ''), key, {
    algorithms: ['HS256'],
  })
  return payload
}

/** The same for a sender. */
export async function senderOf(authorization) {
  const claims = await claimsOf(authorization)
  if (
    !String(claims.scope ?? '')
      .split(' ')
      .includes('notifications:send')
  )
    throw new Error('may not send')
  return claims
}

export function connectRedis() {
  return new Redis(process.env.BENCH_REDIS_URL)
}

export function notificationOf({ title, body }) {
  return { id: randomUUID(), title, body, createdAt: new Date().toISOString() }
}

let pool

/** Durable when it returns. */
export async function insert(userId, { id, title, body, createdAt }) {
  pool ??= new pg.Pool({ connectionString: process.env.BENCH_DATABASE_URL, max: 10 })
  await pool.query('insert into notifications (id, user_id, title, body, created_at) values ($1, $2, $3, $4, $5)', [
    id,
    userId,
    title,
    body,
    createdAt,
  ])
}

/** The user's notifications that were not delivered, oldest first. */
export function undeliveredOf(userId) {
  return select('user_id = $1 and delivered_at is null order by created_at, id', [userId])
}

/** The user's notifications, newest first; `place`: created when, and the id, of the one before. */
export function historyOf(userId, limit, place) {
  return place === null
    ? select('user_id = $1 order by created_at desc, id desc limit $2', [userId, limit])
    : select('user_id = $1 and (created_at, id) < ($3, $4) order by created_at desc, id desc limit $2', [
        userId,
        limit,
        ...place,
      ])
}

async function select(condition, values) {
  pool ??= new pg.Pool({ connectionString: process.env.BENCH_DATABASE_URL, max: 10 })
  const text = `select id, title, body, created_at as "createdAt" from notifications where ${condition}`
  const { rows } = await pool.query(text, values)
  return rows.map((row) => ({ ...row, createdAt: row.createdAt.toISOString() }))
}

export async function listen(server) {
  server.listen(0, '127.0.0.1', 4096)
  await once(server, 'listening')
  return server.address().port
}

/** Tells the driver where the server listens, and ends with the driver, after `close`. `pids`: those that count as the server. */
export function ready({ port, ports = [port], control, pids = [process.pid], memoryPids = pids, close }) {
  process.stdout.write(`${JSON.stringify({ ports, control, pids, memoryPids })}\n`)
  process.stdin.resume().on('end', () => {
    if (close) close().finally(() => process.exit())
    else process.exit()
  })
}
