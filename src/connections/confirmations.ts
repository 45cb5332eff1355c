// Which events the other side of a WebSocket has received: a ping sent behind them tells, since a pong answers all that
// came before it. One ping is under way at a time, and covers whatever was written until it went out.

export interface Confirmations {
  /** Calls back once what has been written so far has been received, in the order of the calls; never if it is not. */
  whenReceived(callback: () => void): void
  /** The payload of a pong. One that answers no ping of ours changes nothing. */
  pong(payload: Buffer): void
}

/** A peer that takes events and answers no ping must not grow memory: what it got beyond this comes again. */
export const unconfirmedMax = 10_000

export function createConfirmations(ping: (payload: Buffer) => void): Confirmations {
  let pings = 0
  let covered: (() => void)[] = []
  let waiting: (() => void)[] = []

  function sendPing(): void {
    covered = waiting
    waiting = []
    pings += 1
    const payload = Buffer.alloc(4)
    payload.writeUInt32BE(pings >>> 0)
    ping(payload)
  }

  return {
    whenReceived(callback) {
      if (covered.length + waiting.length >= unconfirmedMax) return
      waiting.push(callback)
      if (covered.length === 0) sendPing()
    },
    pong(payload) {
      if (covered.length === 0 || payload.length !== 4 || payload.readUInt32BE() !== pings >>> 0) return
      const received = covered
      covered = []
      for (const callback of received) callback()
      if (waiting.length > 0) sendPing()
    },
  }
}
