// G: what a server spends while nothing happens: signs of life, and what heals what was lost.
import { setTimeout as sleep } from 'node:timers/promises'

const users = 19_000
const quietMs = 15_000
const measuredMs = 60_000

export const g = {
  name: 'G',
  title: '19,000 connections for 60 s in which nothing is sent; % of one core',
  charts: [{ figure: 'server %', title: 'CPU of the server', unit: '% of a core' }],
  // It takes two minutes, and varies little.
  roundsMax: 2,
  adapterOf: ({ adapter }) => (['carillon', 'stock', 'nginx-nchan'].includes(adapter) ? adapter : undefined),
  async run({ connect, measure }) {
    await connect(users)
    await sleep(quietMs)
    const { cpu } = await measure(() => sleep(measuredMs))
    const share = (ms) => (ms / measuredMs) * 100
    return { 'server %': share(cpu.server), 'PostgreSQL %': share(cpu.postgres), 'Redis %': share(cpu.redis) }
  },
}
