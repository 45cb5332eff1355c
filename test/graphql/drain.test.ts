import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { gate, startGraphql, subscription } from '../support/graphql-fixture.ts'
import { RawSocket, refusedUpgrade } from '../support/raw-socket.ts'

const mutation = 'mutation { retractNotification(id: "1") }'

test('closes sockets with 1012, spread over the time that it has, and ends their sources', async () => {
  await using server = await startGraphql()
  const sockets = await Promise.all(
    Array.from({ length: 10 }, () => new RawSocket(server.socketUrl).ready(server.token())),
  )
  for (const socket of sockets) socket.subscribe('1', subscription)
  await server.source(10)
  const start = performance.now()
  const closing = server.close(500)
  const closedAt = await Promise.all(
    sockets.map(async (socket) => {
      expect(await socket.closed).toMatchObject({ code: 1012 })
      return performance.now() - start
    }),
  )
  await closing
  expect(Math.min(...closedAt)).toBeLessThan(100)
  expect(Math.max(...closedAt)).toBeGreaterThan(350)
  const inFirstHalf = closedAt.filter((ms) => ms < 250).length
  expect(inFirstHalf).toBeGreaterThanOrEqual(3)
  expect(inFirstHalf).toBeLessThanOrEqual(7)
  expect(server.sources.map(({ returnCalls }) => returnCalls)).toEqual(Array.from({ length: 10 }, () => 1))
  expect(server.metrics.open).toEqual({ websocket: 0, sse: 0 })
})

test('says that it is not ready meanwhile, takes no connection, and still answers requests', async () => {
  await using server = await startGraphql()
  await using _first = await new RawSocket(server.socketUrl).ready(server.token())
  await using _second = await new RawSocket(server.socketUrl).ready(server.token())
  const closing = server.close(400)
  const readyz = await fetch(`${server.origin}/readyz`)
  expect(readyz.status).toBe(503)
  expect(await readyz.json()).toMatchObject({ status: 'draining' })
  expect(await refusedUpgrade(server.socketUrl)).toMatchObject({ status: 503 })
  const events = await server.post(
    { query: subscription },
    { authorization: server.token(), accept: 'text/event-stream' },
  )
  expect(events.status).toBe(503)
  const response = await server.post({ query: '{ inbox { userId } }' }, { authorization: server.token() })
  expect(response.headers.get('connection')).toBe('close')
  expect(await response.json()).toEqual({ data: { inbox: { userId: 'alice' } } })
  await closing
  await expect(fetch(`${server.origin}/livez`)).rejects.toThrow()
})

test('breaks event streams off', async () => {
  await using server = await startGraphql()
  const response = await server.post(
    { query: subscription },
    { authorization: server.token(), accept: 'text/event-stream' },
  )
  const source = await server.source()
  const reading = response.text()
  await server.close()
  await expect(reading).rejects.toThrow()
  expect(source.returnCalls).toBe(1)
})

test('answers mutations in flight before it closes, over WebSocket and HTTP', async () => {
  await using server = await startGraphql()
  const { opened, open } = gate()
  server.control.beforeMutating = opened
  await using socket = await new RawSocket(server.socketUrl).ready(server.token())
  socket.subscribe('1', mutation)
  const http = server.post({ query: mutation }, { authorization: server.token() })
  await vi.waitFor(() => expect(server.control.mutations).toBe(2))
  const closing = server.close()
  await sleep(50)
  open()
  expect(await socket.closed).toMatchObject({ code: 1012 })
  expect(socket.received.slice(1)).toEqual([
    { id: '1', type: 'next', payload: { data: { retractNotification: true } } },
    { id: '1', type: 'complete' },
  ])
  expect(await (await http).json()).toEqual({ data: { retractNotification: true } })
  await closing
})

test('does not wait for ever for a mutation that hangs or a peer that does not close', async () => {
  await using server = await startGraphql()
  server.control.beforeMutating = gate().opened
  await using socket = await new RawSocket(server.socketUrl).ready(server.token())
  socket.subscribe('1', mutation)
  await vi.waitFor(() => expect(server.control.mutations).toBe(1))
  const start = performance.now()
  await server.close()
  expect(performance.now() - start).toBeLessThan(8_000)
  expect(await socket.closed).toMatchObject({ code: 1006 })
})
