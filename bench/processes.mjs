// What processes have used, from /proc. Linux only.
import { readdirSync, readFileSync } from 'node:fs'

const tickMs = 10

/**
 * Processor time of these and of all their descendants, in ms. Of what lives to the nanosecond, thread by thread, since
 * some loads last for a few milliseconds; of children that have ended in hundredths of a second.
 */
export function cpuMs(pids) {
  return treeOf(pids).reduce((sum, pid) => {
    const living = list(`/proc/${pid}/task`).reduce((ns, thread) => {
      const schedule = read(`/proc/${pid}/task/${thread}/schedstat`)
      return schedule === undefined ? ns : ns + Number(schedule.split(' ', 1)[0])
    }, 0)
    const ended = statOf(pid)?.ended ?? 0
    return sum + living / 1e6 + ended * tickMs
  }, 0)
}

/** Resident memory of these and of all their descendants, in bytes. */
export function memoryBytes(pids) {
  return treeOf(pids).reduce((sum, pid) => {
    const [, kib] = /VmRSS:\s+(\d+)/.exec(read(`/proc/${pid}/status`) ?? '') ?? []
    return sum + Number(kib ?? 0) * 1024
  }, 0)
}

function treeOf(pids) {
  const children = new Map()
  for (const name of list('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const parent = statOf(name)?.parent
    const siblings = children.get(parent)
    if (siblings) siblings.push(Number(name))
    else children.set(parent, [Number(name)])
  }
  const withDescendants = (pid) => [pid, ...(children.get(pid) ?? []).flatMap(withDescendants)]
  return [...new Set(pids.flatMap(withDescendants))]
}

/** `ended`: ticks of the children that were waited for. */
function statOf(pid) {
  const stat = read(`/proc/${pid}/stat`)
  if (stat === undefined) return undefined
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return { parent: Number(fields[1]), ended: Number(fields[13]) + Number(fields[14]) }
}

function list(path) {
  try {
    return readdirSync(path)
  } catch {
    // It has ended.
    return []
  }
}

function read(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // It has ended.
    return undefined
  }
}
