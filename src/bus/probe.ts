// Tells a silent subscriber connection from a quiet one: each process sends itself a message through Redis and expects to
// hear it. A connection whose other end vanished without a word looks open for many minutes otherwise.

/** Cheap enough for one message an interval of every process, often enough to notice within `probeBoundMs`. */
export const probeIntervalMs = 2_000
/** One may go missing on a reconnect, or come late where this process was stalled. */
export const probesMissingMax = 2
/** How long a silent connection goes unnoticed at most. */
export const probeBoundMs = probeIntervalMs * (probesMissingMax + 1)

export interface Probe {
  /** Looks whether the last ones came back, and sends the next. Called every `probeIntervalMs`. */
  tick(): void
  /** What came back on the probe's channel. */
  hear(payload: string): void
  problem(): string | undefined
}

export interface ProbeOptions {
  /** Best effort; must not throw. */
  send: (payload: string) => void
  onLag: (seconds: number) => void
  /** Called after `probesMissingMax` went missing in a row, and again after as many more. */
  onSilent: () => void
}

export function createProbe({ send, onLag, onSilent }: ProbeOptions): Probe {
  let missing = 0
  let silent = false
  return {
    tick() {
      if (missing >= probesMissingMax) {
        missing = 0
        silent = true
        onSilent()
      }
      missing += 1
      // The time of this process's own clock, which nobody else reads.
      send(String(performance.now()))
    },
    hear(payload) {
      const lagMs = performance.now() - Number(payload)
      if (!(lagMs >= 0)) return
      missing = 0
      silent = false
      onLag(lagMs / 1_000)
    },
    problem: () => (silent ? 'messages to itself do not come back' : undefined),
  }
}
