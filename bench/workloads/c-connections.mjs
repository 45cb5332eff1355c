// C: what a subscribed connection costs: memory while it is there, CPU to connect it. Each user's token is verified.
import { setTimeout as sleep } from 'node:timers/promises'
import { wholeOf } from '../servers.mjs'

/** After which the garbage of connecting has been collected, as far as V8 does it by itself. Nobody is told to. */
const settleMs = 4_000
/** Connected before anything is measured: code that V8 has compiled, and a heap that has grown once. */
const warmUpUsers = 1_000

export const c = {
  name: 'C',
  title: 'Memory and CPU of a connection; tokens are verified',
  charts: [
    { figure: 'KB each at 10,000', title: 'Memory of a connection, of 10,000', unit: 'KB' },
    { figure: 'CPU µs to connect', title: 'CPU to connect', unit: 'µs' },
  ],
  env: { BENCH_VERIFY: '1' },
  adapterOf: wholeOf,
  async run({ isQuick, connect, measure, memory }) {
    await connect(warmUpUsers)
    await sleep(settleMs)
    const before = memory()
    const users = isQuick ? 5_000 : 10_000
    const { result, cpu } = await measure(() => connect(users))
    await sleep(settleMs)
    const kb = (count) => (memory() - before) / (count - warmUpUsers) / 1_000
    const figures = {
      [`KB each at ${users.toLocaleString('en')}`]: kb(users),
      'CPU µs to connect': (cpu.server * 1_000) / (users - warmUpUsers),
      'connected a second': ((users - warmUpUsers) / result.ms) * 1_000,
    }
    if (isQuick) return figures
    const more = 19_000
    const rest = await measure(() => connect(more))
    await sleep(settleMs)
    return {
      ...figures,
      'KB each at 19,000': kb(more),
      'CPU µs to connect, 10,000 to 19,000': (rest.cpu.server * 1_000) / (more - users),
    }
  },
}
