// What processes have used, from /proc. Linux only.
import { readdirSync, readFileSync } from 'node:fs'

const tickMs = 10

/** Processor time of these and of all their descendants, ended children included, in ms. */
export function cpuMs(pids) {
  const children = new Map()
  const used = new Map()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const stat = read(`/proc/${name}/stat`)
    if (stat === undefined) continue
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [pid, parent] = [Number(name), Number(fields[1])]
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0)
    used.set(pid, ticks * tickMs)
    children.set(parent, [...(children.get(parent) ?? []), pid])
  }
  const of = (pid) => (used.get(pid) ?? 0) + (children.get(pid) ?? []).reduce((sum, child) => sum + of(child), 0)
  return pids.reduce((sum, pid) => sum + of(pid), 0)
}

/** Resident memory of these, in bytes. */
export function memoryBytes(pids) {
  return pids.reduce((sum, pid) => {
    const [, kib] = /VmRSS:\s+(\d+)/.exec(read(`/proc/${pid}/status`) ?? '') ?? []
    return sum + Number(kib ?? 0) * 1024
  }, 0)
}

function read(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // It has ended.
    return undefined
  }
}
