// Tells a silent subscriber connection from a quiet one: each process sends itself a message through Redis and expects to
// hear it. A connection whose other end vanished without a word looks open for many minutes otherwise.
import { isAnswer, reasonOf } from '../redis.ts'

/** A message to itself has to come back within it, and a connection that went silent is noticed within two. */
export const probeIntervalMs = 2_000
/** Two an interval, so that one may go missing on a reconnect, or come late where this process was stalled. */
export const probeTickMs = probeIntervalMs / 2
/** How long a silent connection goes unnoticed at most: until the next tick, and an interval more. */
export const probeBoundMs = probeTickMs + probeIntervalMs

export interface Probe {
  /** Looks whether what was sent an interval ago came back, and sends the next. Called every `probeTickMs`. */
  tick(): void
  /** What came back on the probe's channel. */
  hear(payload: string): void
  problem(): string | undefined
}

export interface ProbeOptions {
  /** Publishes on the probe's channel; undefined where there is no connection to do it, which says nothing about the other. */
  send: (payload: string) => Promise<void> | undefined
  onLag: (seconds: number) => void
  /** Called when nothing came back for an interval, and again after as much more. */
  onSilent: () => void
}

export function createProbe({ send, onLag, onSilent }: ProbeOptions): Probe {
  /** Ticks since the oldest message left that has not come back, nor any later one; 0 where none is on its way. */
  let ticksOut = 0
  let silent = false
  let refusal: string | undefined

  async function watch(sent: Promise<void>): Promise<void> {
    try {
      await sent
      refusal = undefined
    } catch (error) {
      // Without an answer it is the silence that is looked for. What Redis refused, by its access rules for example, could
      // not come back, and the subscriber's connection must not pay for it.
      if (!isAnswer(error)) return
      refusal = reasonOf(error)
      ticksOut = 0
    }
  }

  return {
    tick() {
      if (ticksOut > 0) ticksOut += 1
      if ((ticksOut - 1) * probeTickMs >= probeIntervalMs) {
        ticksOut = 0
        silent = true
        onSilent()
      }
      // The time of this process's own clock, which nobody else reads.
      const sent = send(String(performance.now()))
      if (sent === undefined) return
      if (ticksOut === 0) ticksOut = 1
      void watch(sent)
    },
    hear(payload) {
      const lagMs = performance.now() - Number(payload)
      if (!(lagMs >= 0)) return
      ticksOut = 0
      silent = false
      onLag(lagMs / 1_000)
    },
    problem() {
      if (refusal !== undefined) return `Redis refused to publish: ${refusal}`
      return silent ? 'messages to itself do not come back' : undefined
    },
  }
}
