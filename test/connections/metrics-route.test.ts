import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Fleet, request, serviceToken, startFleet, tokenFor } from '../support/server.ts'

let fleet: Fleet
beforeAll(async () => {
  fleet = await startFleet()
})
afterAll(() => fleet[Symbol.asyncDispose]())

async function ask(token: string | null, options: RequestInit = {}) {
  const headers = token === null ? {} : { authorization: `Bearer ${token}` }
  const response = await fetch(`${fleet.url}/metrics`, { headers, ...options })
  return { status: response.status, headers: response.headers, text: await response.text() }
}

test('shows the metrics as Prometheus text to a token of scope admin', async () => {
  const send = 'mutation { sendNotification(input: { userId: "alice", title: "a", priority: HIGH }) { duplicate } }'
  expect((await request(fleet.url, await serviceToken(), send)).errors).toBeUndefined()
  const { status, headers, text } = await ask(await tokenFor('prometheus', ['admin']))
  expect(status).toBe(200)
  expect(headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
  expect(headers.get('cache-control')).toBe('no-store')
  expect(text).toMatch(/^carillon_notifications_accepted_total\{priority="HIGH"\} 1$/m)
  expect(text).toMatch(/^# TYPE carillon_delivery_latency_seconds histogram$/m)
  expect(text).toMatch(/^process_cpu_seconds_total /m)
  expect(text).not.toContain('alice')
})

test('answers HEAD without a body', async () => {
  const { status, headers, text } = await ask(await tokenFor('prometheus', ['admin']), { method: 'HEAD' })
  expect([status, text]).toEqual([200, ''])
  expect(Number(headers.get('content-length'))).toBeGreaterThan(1_000)
})

test('is UNAUTHENTICATED without a token, or with one that does not hold', async () => {
  for (const token of [null, '', 'not a token', await tokenFor('prometheus', ['admin'], -1)]) {
    const { status, headers, text } = await ask(token)
    expect(status).toBe(401)
    expect(headers.get('www-authenticate')).toBe('Bearer')
    expect(JSON.parse(text)).toEqual({
      errors: [{ message: expect.stringContaining('token'), extensions: { code: 'UNAUTHENTICATED' } }],
    })
  }
})

test('is FORBIDDEN without the scope, whatever others the token has', async () => {
  for (const token of [await tokenFor('alice'), await serviceToken()]) {
    const { status, text } = await ask(token)
    expect(status).toBe(403)
    expect(JSON.parse(text)).toEqual({
      errors: [{ message: 'the token needs the scope admin', extensions: { code: 'FORBIDDEN' } }],
    })
  }
})

test('is read, and nothing else', async () => {
  const admin = await tokenFor('prometheus', ['admin'])
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    const headers = { authorization: `Bearer ${admin}` }
    const { status, headers: answered } = await ask(admin, { method, headers })
    expect([status, answered.get('allow')]).toEqual([405, 'GET, HEAD'])
  }
})
