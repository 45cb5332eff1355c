// What stands between a client and a fleet: a TCP proxy that breaks connections off, refuses new ones and holds back what
// the servers send, when a test says so.
import { once } from 'node:events'
import { createConnection, createServer, type Socket } from 'node:net'

export interface FleetProxy extends AsyncDisposable {
  url: string
  port: number
  /** The target that the next connection goes to, unless it does not answer. */
  readonly next: string
  /** Breaks off every connection that there is, on both sides. */
  cut(): void
  /** From now on connections end as soon as they are made. */
  refuse(): void
  accept(): void
  /** From now on nothing that a target sends goes through the connections that there are. */
  hold(): void
  /** What has been held back since `hold`, as text. */
  readonly held: string
}

interface Pair {
  near: Socket
  far: Socket
}

/** Connections go to the targets (http addresses) in turn, past those that nothing listens at. */
export async function startProxy({ targets }: { targets: readonly string[] }): Promise<FleetProxy> {
  const pairs = new Set<Pair>()
  let turn = 0
  let isRefusing = false
  let held = ''
  const targetAt = (place: number) => targets[place % targets.length] ?? ''

  const server = createServer(async (near) => {
    near.on('error', () => near.destroy())
    if (isRefusing) return void near.destroy()
    const far = await connect(targetAt, turn, targets.length)
    if (!far || near.destroyed || isRefusing) {
      near.destroy()
      far?.socket.destroy()
      return
    }
    turn = far.place + 1
    join(near, far.socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')

  function join(near: Socket, far: Socket): void {
    const pair = { near, far }
    pairs.add(pair)
    near.pipe(far)
    far.pipe(near)
    for (const socket of [near, far]) {
      socket.on('error', () => socket.destroy())
      socket.on('close', () => {
        pairs.delete(pair)
        near.destroy()
        far.destroy()
      })
    }
  }

  function cut(): void {
    for (const { near, far } of pairs) {
      near.destroy()
      far.destroy()
    }
  }

  return {
    url: `http://127.0.0.1:${address.port}`,
    port: address.port,
    get next() {
      return targetAt(turn)
    },
    cut,
    refuse() {
      isRefusing = true
    },
    accept() {
      isRefusing = false
    },
    hold() {
      held = ''
      for (const { near, far } of pairs) {
        far.unpipe(near)
        far.on('data', (chunk: Buffer) => {
          held += chunk.toString()
        })
        far.resume()
      }
    },
    get held() {
      return held
    },
    async [Symbol.asyncDispose]() {
      isRefusing = true
      cut()
      server.close()
      await once(server, 'close')
    },
  }
}

/** To the first target, from this place on, that somebody listens at. */
async function connect(targetAt: (place: number) => string, from: number, count: number) {
  for (let place = from; place < from + count; place++) {
    const socket = createConnection(Number(new URL(targetAt(place)).port), '127.0.0.1')
    try {
      await once(socket, 'connect')
      return { socket, place }
    } catch {
      // Nothing listens there: the next one may.
      socket.destroy()
    }
  }
  return undefined
}
