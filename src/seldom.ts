// Logging what may happen a thousand times a second: the first at once, then one line a minute.

/** Often enough to see that it goes on, and seldom enough to read the rest of the log. */
const intervalMs = 60_000

/** `write` gets what happened last and how often it happened since the line before. */
export function seldom(write: (reason: string, times: number) => void): (reason: string) => void {
  let nextAt = 0
  let times = 0
  return (reason) => {
    times += 1
    const now = performance.now()
    if (now < nextAt) return
    write(reason, times)
    times = 0
    nextAt = now + intervalMs
  }
}
