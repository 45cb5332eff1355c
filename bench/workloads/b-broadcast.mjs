// B: one text to all who are connected, from the moment at which the server has it to the last frame. Peers do it by their
// own idiom, a topic that everybody is subscribed to beside their own; Carillon's have a place in each user's log.
import { deliveryOf } from '../servers.mjs'

const users = 5_000
const warmUpTimes = 10
const times = 20

export const b = {
  name: 'B',
  title: 'One broadcast to 5,000 users, 20 in a row',
  charts: [
    { figure: 'CPU µs', title: 'CPU of a delivery', unit: 'µs' },
    { figure: 'all have it ms', title: 'From the broadcast until the last of 5,000 has it', unit: 'ms' },
  ],
  env: { BENCH_BROADCAST: '1' },
  adapterOf: deliveryOf,
  async run({ clients, measure, connect }) {
    await connect(users)
    await clients('broadcast', { times: warmUpTimes })
    const { result, cpu } = await measure(() => clients('broadcast', { times }))
    return {
      'CPU µs': (cpu.server * 1_000) / times / users,
      'Redis µs': (cpu.redis * 1_000) / times / users,
      'all have it ms': result.p50Ms,
      'slowest ms': result.p99Ms,
    }
  },
}
