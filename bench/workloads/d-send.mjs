// D: a send until it is committed, answered and delivered: over HTTP, over graphql-ws, and 100 in one operation.
import { wholeOf } from '../servers.mjs'
import { warmUp } from '../warm-up.mjs'

const users = 1_000

const charts = [
  { figure: 'CPU µs', title: 'CPU of the server for a send with its delivery', unit: 'µs' },
  { figure: 'a second', title: 'Sends a second', unit: '', isMoreBetter: true },
]

export const d = {
  name: 'D',
  title: 'A send over HTTP, committed and delivered, 64 callers, 1,000 users',
  charts,
  adapterOf: wholeOf,
  run: (session) => sends(session, { underWay: 64, count: session.isQuick ? 4_000 : 15_000 }),
}

export const dWebSocket = {
  name: 'D-ws',
  title: 'A send over graphql-ws, committed and delivered, 64 sockets, 1,000 users',
  charts,
  env: { BENCH_CALLS: 'websocket' },
  // The others have no operations over their sockets.
  adapterOf: ({ adapter, protocol }) => (protocol === 'graphql' ? adapter : undefined),
  run: (session) => sends(session, { underWay: 64, count: 15_000, over: 'websocket' }),
}

export const dBatch = {
  name: 'D-batch',
  title: 'sendNotifications of 100 over HTTP, 16 callers, 1,000 users; of one notification',
  charts,
  // Nobody else has an operation of this kind: it stands beside stock's single sends.
  beside: { workload: 'D', server: 'stock', name: 'stock, one by one' },
  adapterOf: ({ adapter }) => (adapter === 'carillon' ? adapter : undefined),
  run: (session) => sends(session, { underWay: 16, count: 600, each: 100 }),
}

async function sends(session, { count, each = 1, ...load }) {
  const { isQuick, clients, measure, connect, target } = session
  await connect(users)
  const send = (many) => clients('send', { ...load, target, each, count: many })
  const stretch = isQuick ? 4_000 : 5_000 / Math.min(each, 50)
  await warmUp(
    session,
    { stretch, least: isQuick ? stretch : 3 * stretch, most: isQuick ? stretch : 6 * stretch },
    send,
  )
  const { result, cpu } = await measure(() => send(count))
  const notifications = count * each
  return {
    'CPU µs': (cpu.server * 1_000) / notifications,
    'PostgreSQL µs': (cpu.postgres * 1_000) / notifications,
    'Redis µs': (cpu.redis * 1_000) / notifications,
    'a second': result.perSecond,
    'p50 ms': result.p50Ms,
    'p99 ms': result.p99Ms,
  }
}
