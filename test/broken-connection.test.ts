import type { AddressInfo } from 'node:net'
import { connect, createServer, type Socket } from 'node:net'
import { sql } from 'kysely'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { connectPostgres } from '../src/postgres.ts'
import { createTestDatabase } from './support/database.ts'

test('a connection that breaks without a word under a Kysely query fails that query alone', async () => {
  await using t = await createTestDatabase()
  const target = new URL(t.url)
  const sockets: Socket[] = []
  const proxy = createServer((socket) => {
    const upstream = connect(Number(target.port), target.hostname)
    sockets.push(socket, upstream)
    for (const s of [socket, upstream]) s.on('error', () => {})
    socket.pipe(upstream)
    upstream.pipe(socket)
  }).listen(0, '127.0.0.1')
  await new Promise((r) => proxy.once('listening', r))
  const url = new URL(t.url)
  url.port = String((proxy.address() as AddressInfo).port)
  const database = connectPostgres(url.href, pino({ level: 'silent' }))
  await sql`select 1`.execute(database.kysely)
  const query = sql`select pg_sleep(5)`.execute(database.kysely).then(
    () => 'done',
    (error: unknown) => String(error),
  )
  const running = "select pid from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'"
  await expect.poll(() => t.database.query('running', running, [])).toHaveLength(1)
  for (const socket of sockets) socket.destroy()
  // Where nobody listens to the connection, its end is an uncaught exception, which fails the run.
  expect(await query).toMatch(/terminat|ECONNRESET/)
  proxy.close()
  await database.close()
})
