// Who is measured: the program that wires each (adapters/), the protocol that its clients speak, and what it takes part in.
import { documents } from './protocols.mjs'

const carillon = { protocol: 'graphql', document: documents.carillon }
const delivery = { ...carillon, delivery: 'carillon-delivery' }

/**
 * `adapter`: the whole server. `delivery`: what A and B measure where that is not the whole server, since storing is no part
 * of them. `workloads`: the only ones, where it can't do the others.
 */
export const servers = {
  'bare ws': { adapter: 'bare-ws', protocol: 'plain' },
  'ws + Redis': { adapter: 'ws-redis', protocol: 'plain' },
  'Socket.IO': { adapter: 'socket-io', protocol: 'socket.io' },
  Mercurius: { adapter: 'mercurius', protocol: 'graphql' },
  Apollo: { adapter: 'apollo', protocol: 'graphql' },
  stock: { adapter: 'stock', protocol: 'graphql' },
  'nginx + nchan': { adapter: 'nginx-nchan', protocol: 'nchan', workloads: ['A', 'B', 'C', 'G'] },
  /** The sender is on another instance. */
  'Carillon through Redis': { ...delivery, env: { BENCH_BUS: 'two' } },
  /** Over Redis too; sender and receiver meet on one instance. */
  Carillon: { ...delivery, adapter: 'carillon' },
  'Carillon in process': { ...delivery, env: { BENCH_BUS: 'memory' } },
}

export const deliveryOf = ({ delivery, adapter }) => delivery ?? adapter
export const wholeOf = ({ adapter }) => adapter
