// Looking at a server again and again while a case goes on, and at what it holds on to.
import { setTimeout as sleep } from 'node:timers/promises'
import { vi } from 'vitest'
import type { Instance } from './instance.ts'

const memoryEveryMs = 100
const collectMsMax = 10_000
const collections = 3
const betweenCollectionsMs = 300

/** Looks, and again so long after each look, until it is disposed of; fails then where a look failed. */
export function watch(everyMs: number, look: () => Promise<void>): AsyncDisposable {
  let isRunning = true
  const run = async () => {
    for (; isRunning; await sleep(everyMs)) await look()
  }
  const done = run()
  // Told when it is disposed of.
  done.catch(() => {})
  return {
    async [Symbol.asyncDispose]() {
      isRunning = false
      await done
    },
  }
}

export interface MemoryWatch extends AsyncDisposable {
  /** Resident memory in MiB, the most between two moments by `performance.now()`. */
  peak(from: number, until: number): number
}

export function watchMemory(instance: Instance): MemoryWatch {
  const samples: { at: number; mib: number }[] = []
  const watched = watch(memoryEveryMs, async () => {
    samples.push({ at: performance.now(), mib: await instance.memory() })
  })
  return {
    peak: (from, until) => Math.max(...samples.flatMap(({ at, mib }) => (at >= from && at < until ? [mib] : []))),
    [Symbol.asyncDispose]: () => watched[Symbol.asyncDispose](),
  }
}

const collector = `process.on('SIGUSR2', () => {
  gc()
  const { heapUsed, external } = process.memoryUsage()
  console.log(JSON.stringify({ msg: 'collected', at: Date.now(), bytes: heapUsed + external }))
})`

/** For the Node of an instance whose `heldMemory` is asked for; it changes nothing until then. */
export const collectsWhenAsked = ['--expose-gc', '--import', `data:text/javascript,${encodeURIComponent(collector)}`]

/**
 * What a server holds on to, inside and outside of Node's heap, in MiB: the least of a few collections, since what is on its
 * way at the moment of one is not held. Resident memory says little about it: Node lets tens of MiB of garbage lie before it
 * collects them, and gives memory back late.
 */
export async function heldMemory(instance: Instance): Promise<number> {
  let held = Number.POSITIVE_INFINITY
  for (let collection = 1; collection <= collections; collection++) {
    if (collection > 1) await sleep(betweenCollectionsMs)
    held = Math.min(held, await collected(instance))
  }
  return held
}

async function collected(instance: Instance): Promise<number> {
  const askedAt = Date.now()
  process.kill(instance.pid, 'SIGUSR2')
  return vi.waitFor(() => {
    const answers = instance.log.filter((line) => line.startsWith('{"msg":"collected"')).map((line) => JSON.parse(line))
    const answer = answers.find(({ at }) => at >= askedAt)
    if (!answer) throw new Error('it has not collected its garbage')
    return Number(answer.bytes) / 2 ** 20
  }, collectMsMax)
}
