// A: one targeted delivery. Nothing is stored, by anybody.
import { deliveryOf } from '../servers.mjs'
import { warmUp } from '../warm-up.mjs'

const users = 2_000
const underWay = 64
const perSecond = 2_000

export const a = {
  name: 'A',
  title: 'One delivery of 300 bytes, 2,000 users, 64 under way; then 2,000 a second',
  charts: [
    { figure: 'CPU µs', title: 'CPU of a delivery', unit: 'µs' },
    { figure: 'open p50 ms', title: 'At 2,000 a second: half are delivered within', unit: 'ms' },
  ],
  adapterOf: deliveryOf,
  async run({ isQuick, ...session }) {
    const { clients, measure, connect } = session
    await connect(users)
    const publish = (count) => clients('publish', { count, underWay })
    const sizes = isQuick
      ? { stretch: 15_000, least: 15_000, most: 15_000 }
      : { stretch: 15_000, least: 30_000, most: 90_000 }
    await warmUp(session, sizes, publish)
    const count = isQuick ? 15_000 : 60_000
    const { result, cpu } = await measure(() => publish(count))
    const figures = {
      'CPU µs': (cpu.server * 1_000) / count,
      'Redis µs': (cpu.redis * 1_000) / count,
      'a second': result.perSecond,
      'p50 ms': result.p50Ms,
      'p99 ms': result.p99Ms,
    }
    if (isQuick) return figures
    const openCount = 5 * perSecond
    const open = await measure(() => clients('publish', { count: openCount, perSecond }))
    return {
      ...figures,
      'open CPU µs': (open.cpu.server * 1_000) / openCount,
      'open p50 ms': open.result.p50Ms,
      'open p99 ms': open.result.p99Ms,
    }
  },
}
