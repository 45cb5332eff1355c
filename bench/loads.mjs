// How work is offered. `begin(number)` is the caller's, who calls `end(number)` for each that is over.

/** As many under way as told, until `count` are over. */
export function closedLoop(count) {
  const beganAt = new Float64Array(count)
  const tookMs = []
  let next = 0
  let done = () => {}
  const load = {
    begin: (_number) => {},
    end(number) {
      tookMs.push(performance.now() - beganAt[number])
      if (next < count) start()
      else if (tookMs.length === count) done()
    },
    async run(underWay) {
      const startedAt = performance.now()
      const isDone = new Promise((resolve) => {
        done = resolve
      })
      while (next < Math.min(underWay, count)) start()
      await isDone
      return summary(tookMs, performance.now() - startedAt)
    },
  }
  function start() {
    const number = next++
    beganAt[number] = performance.now()
    load.begin(number)
  }
  return load
}

/**
 * So many a second, however long each takes. Timers are a millisecond apart at best, so at 2,000 a second two begin
 * together. Each one's time runs from when it was due: who is late has not begun it later.
 */
export function openLoop(count, perSecond) {
  const tookMs = []
  const everyMs = 1_000 / perSecond
  let startedAt = 0
  let next = 0
  let done = () => {}
  const load = {
    begin: (_number) => {},
    end(number) {
      tookMs.push(performance.now() - (startedAt + number * everyMs))
      if (tookMs.length === count) done()
    },
    async run() {
      startedAt = performance.now()
      const isDone = new Promise((resolve) => {
        done = resolve
      })
      beginDue()
      await isDone
      return summary(tookMs, performance.now() - startedAt)
    },
  }
  function beginDue() {
    const due = Math.min(count, Math.floor((performance.now() - startedAt) / everyMs) + 1)
    while (next < due) load.begin(next++)
    if (next < count) setTimeout(beginDue, 1)
  }
  return load
}

function summary(tookMs, ms) {
  tookMs.sort((a, b) => a - b)
  const { length } = tookMs
  return { ms, perSecond: (length / ms) * 1_000, p50Ms: tookMs[length >> 1], p99Ms: tookMs[Math.floor(length * 0.99)] }
}
