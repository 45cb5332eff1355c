// Before anything is measured: V8 compiles what runs often, and for the first tens of thousands of events a server costs
// twice what it costs then.

/** What CPU may still differ by from one stretch to the next. */
const settledShare = 0.08

/** Runs `load(count)` in stretches, `least` in all, and until CPU has settled or there were `most`. */
export async function warmUp({ measure }, { stretch, least, most }, load) {
  let last = Number.POSITIVE_INFINITY
  for (let done = stretch; ; done += stretch) {
    const { cpu } = await measure(() => load(stretch))
    const hasSettled = Math.abs(cpu.server - last) < settledShare * cpu.server
    if ((done >= least && hasSettled) || done >= most) return
    last = cpu.server
  }
}
