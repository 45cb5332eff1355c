import { pino } from 'pino'
import { expect, test, vi } from 'vitest'
import type { BusStatus } from '../src/bus/bus.ts'
import { createClock } from '../src/clock.ts'
import { startHealth } from '../src/health.ts'
import { poolConnectionsMax } from '../src/postgres.ts'
import { createTestDatabase } from './support/database.ts'
import { startGraphql } from './support/graphql-fixture.ts'

const logger = pino({ level: 'silent' })

function start(bus: BusStatus = { healthy: true }) {
  const database = {
    fails: false,
    adjust: () => (database.fails ? Promise.reject(new Error('gone')) : Promise.resolve()),
  }
  const health = startHealth({ clock: database, bus: { status: () => bus }, logger, checkMs: 5, unreachableMs: 50 })
  return { database, health, [Symbol.asyncDispose]: () => health.stop() }
}

test('is not ready until it has started, nor once it drains', async () => {
  await using running = start()
  const { health } = running
  expect(health.readiness()).toMatchObject({ ready: false, status: 'starting' })
  health.started()
  expect(health.readiness()).toEqual({ ready: true, status: 'ok', degraded: {} })
  health.draining()
  expect(health.readiness()).toMatchObject({ ready: false, status: 'draining' })
  health.started()
  expect(health.readiness()).toMatchObject({ status: 'draining' })
})

test('is not ready while the database does not answer for long, and again once it does', async () => {
  await using running = start()
  const { health, database } = running
  health.started()
  database.fails = true
  expect(health.readiness()).toMatchObject({ ready: true })
  await vi.waitFor(() => expect(health.readiness()).toMatchObject({ ready: false, status: 'unavailable' }))
  expect(health.readiness().reason).toMatch(/^the database has not answered for \d+ s$/)
  database.fails = false
  await vi.waitFor(() => expect(health.readiness()).toMatchObject({ ready: true }))
})

test('is not ready while the database answers nothing at all', async () => {
  const health = startHealth({
    clock: { adjust: () => new Promise(() => {}) },
    logger,
    checkMs: 5,
    unreachableMs: 30,
  })
  health.started()
  await vi.waitFor(() => expect(health.readiness()).toMatchObject({ status: 'unavailable' }))
})

test('is ready while every connection of the pool is busy', async () => {
  await using t = await createTestDatabase()
  const { database } = t
  const clock = createClock(() => database.askTime())
  await clock.adjust()
  const health = startHealth({ clock, logger, checkMs: 10, unreachableMs: 300 })
  health.started()
  const sleep = () => database.query('sleep', 'select pg_sleep(1)', [])
  let isBusy = true
  const busy = Promise.all(Array.from({ length: poolConnectionsMax }, sleep)).finally(() => {
    isBusy = false
  })
  await vi.waitUntil(() => health.readiness().status !== 'ok' || !isBusy, { timeout: 5_000, interval: 5 })
  expect(health.readiness()).toMatchObject({ ready: true })
  await busy
  await health.stop()
})

test('without the bus it is degraded, and ready', async () => {
  await using running = start({ healthy: false, reason: 'the connection is lost' })
  const { health } = running
  health.started()
  expect(health.readiness()).toEqual({ ready: true, status: 'ok', degraded: { bus: 'the connection is lost' } })
})

test('/livez answers while the process runs, and /readyz what is so', async () => {
  await using server = await startGraphql()
  const livez = await fetch(`${server.origin}/livez`)
  expect(livez.status).toBe(200)
  expect(await livez.json()).toEqual({ status: 'ok' })
  const readyz = await fetch(`${server.origin}/readyz`)
  expect(readyz.status).toBe(200)
  expect(await readyz.json()).toEqual({ status: 'ok', degraded: {} })
  server.health.draining()
  const draining = await fetch(`${server.origin}/readyz`)
  expect(draining.status).toBe(503)
  expect(await draining.json()).toMatchObject({ status: 'draining', reason: 'the server is going away' })
  expect((await fetch(`${server.origin}/livez`)).status).toBe(200)
})
