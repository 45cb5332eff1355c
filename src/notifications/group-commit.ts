// Group commit: sends that arrive while others commit share the next statement, and with it one round trip, one
// transaction and one flush to disk. A lone send waits for nothing. Within this process a user's sends keep their order,
// and one item's failure never fails its neighbours. The statement: append.ts.
import { setTimeout as delay } from 'node:timers/promises'
import { CarillonError } from '../errors.ts'
import { isTransient, sqlState } from '../postgres.ts'
import type { Append, Appended, AppendItem, First } from './append.ts'

/** Items of one statement: its locks are held for some milliseconds, which is what a neighbour may have to wait. */
export const groupItemsMax = 256
/** Characters of one statement's content, so that large items don't make a slow statement. */
export const groupCharactersMax = 1024 * 1024
/** Two, so that one is on its way while the other commits; more only contend for the same processors. */
export const groupsInFlightMax = 2
/** Beyond it a send is refused with UNAVAILABLE: the database is not keeping up. */
export const waitingItemsMax = 20_000
/** The same for the characters of their content, since items may have 20,000 each. */
export const waitingCharactersMax = 32 * 1024 * 1024
/**
 * Since it came, a send goes into a statement within this time or is UNAVAILABLE, and surely not committed: the database
 * is not keeping up, or somebody holds a lock, on its inbox as a rule. What a statement may take comes on top.
 */
export const queuedMsMax = 5_000
/** How often sends that wait are looked at for that: one timer for all, and none while nothing waits. */
export const lateCheckMs = 100
/** How often the locked inboxes are looked at again. */
export const blockedRetryMs = 50
/** Deadlocks and serialization failures of one group; with the fixed lock order there should be none. */
export const conflictRetriesMax = 5

/** What became of an item: it was appended, or its idempotency key had been used before, maybe with another input. */
export type Committed = { appended: Appended } | { first: First }

export interface GroupCommit {
  /** Resolves when it is committed. Fails with UNAVAILABLE where it was not, or where nobody can know. */
  commit(item: AppendItem): Promise<Committed>
}

export interface GroupCommitOptions {
  append: Append
  /** Called with what one statement appended, before those sends resolve. Must not reject. */
  onCommit(appended: Appended[]): Promise<void>
}

interface Waiting {
  item: AppendItem
  characters: number
  /** When it came, by the monotonic clock. */
  since: number
  /** After two it goes alone: something other than its inbox is locked, and its neighbours must not wait for that. */
  lockTimeouts: number
  resolve(committed: Committed): void
  reject(error: unknown): void
}

export function createGroupCommit({ append, onCommit }: GroupCommitOptions): GroupCommit {
  let queue: Waiting[] = []
  let waitingCount = 0
  let waitingCharacters = 0
  let inFlight = 0
  let lateCheck: NodeJS.Timeout | undefined
  let isWatchingBlocked = false
  /** Users of a group in flight: their next sends wait, or two statements could turn their order around. */
  const busy = new Set<string>()
  /** Sends to users whose inbox was found locked: kept out of the groups until it is free. */
  const blocked = new Map<string, Waiting[]>()

  return {
    commit(item) {
      const characters = sizeOf(item)
      if (waitingCount >= waitingItemsMax || waitingCharacters + characters > waitingCharactersMax) {
        return Promise.reject(new CarillonError('UNAVAILABLE', 'too many sends are waiting; try again later'))
      }
      waitingCount++
      waitingCharacters += characters
      return new Promise<Committed>((resolve, reject) => {
        enqueue({ item, characters, since: performance.now(), lockTimeouts: 0, resolve, reject })
        flush()
        checkLate()
      }).finally(() => {
        waitingCount--
        waitingCharacters -= characters
      })
    },
  }

  function enqueue(waiting: Waiting): void {
    const others = blocked.get(waiting.item.userId)
    if (others) others.push(waiting)
    else queue.push(waiting)
  }

  function flush(): void {
    while (inFlight < groupsInFlightMax) {
      const group = takeGroup()
      if (group.length === 0) return
      inFlight++
      for (const { item } of group) busy.add(item.userId)
      void commitGroup(group).finally(() => {
        inFlight--
        for (const { item } of group) busy.delete(item.userId)
        flush()
      })
    }
  }

  function takeGroup(): Waiting[] {
    const group: Waiting[] = []
    const rest: Waiting[] = []
    let characters = 0
    let looked = 0
    for (const waiting of queue) {
      const isAlone = [waiting, group[0]].some((one) => one && one.lockTimeouts > 1)
      if (group.length === groupItemsMax || characters >= groupCharactersMax || (isAlone && group.length > 0)) break
      looked++
      if (busy.has(waiting.item.userId)) {
        rest.push(waiting)
      } else {
        group.push(waiting)
        characters += waiting.characters
      }
    }
    queue = rest.concat(queue.slice(looked))
    return group
  }

  /** Settles each item, or blocks it. Never rejects. */
  async function commitGroup(waitings: Waiting[]): Promise<void> {
    // In the second half of a group that failed some are late, or an earlier send to their user was found locked.
    const group = hold(withoutLate(waitings))
    if (group.length === 0) return
    try {
      await appendGroup(foldRepeats(group))
    } catch (error) {
      if (sqlState(error) === '55P03') return block(group)
      if (error instanceof CarillonError || isTransient(error) || group.length === 1)
        return rejectAll(group, toCallerError(error))
      // One of them is at fault, and the others must not pay for it.
      const middle = group.length >> 1
      await commitGroup(group.slice(0, middle))
      await commitGroup(group.slice(middle))
    }
  }

  /** Rejects where the statement failed, and has settled nothing then. */
  async function appendGroup(distinct: Distinct[]): Promise<void> {
    const results = await retryConflicts(() => append.append(distinct.map(({ item }) => item)))
    const committed = distinct.flatMap((one, index) => {
      const appended = results[index]
      return appended ? [{ appended, ...one }] : []
    })
    // Not awaited: the next group has to wait neither for the bus nor for this read.
    void onCommit(committed.map(({ appended }) => appended)).then(() => {
      for (const { members, item, appended } of committed) {
        const first = { notification: appended.notification, hash: item.idempotency?.hash ?? '' }
        members.shift()?.resolve({ appended })
        for (const { resolve } of members) resolve({ first })
      }
    })
    void settleRepeated(distinct.filter((_, index) => !results[index]))
  }

  /** Those whose key had been used before. The winner's row is in sight of a new statement alone. */
  async function settleRepeated(repeated: Distinct[]): Promise<void> {
    if (repeated.length === 0) return
    try {
      const firsts = await append.findFirst(repeated.flatMap(({ item }) => item.idempotency ?? []))
      for (const [index, { members }] of repeated.entries()) {
        const first = firsts[index]
        if (first) for (const { resolve } of members) resolve({ first })
        else rejectAll(members, new CarillonError('UNAVAILABLE', 'the idempotency key has just run out; try again'))
      }
    } catch (error) {
      for (const { members } of repeated) rejectAll(members, toCallerError(error))
    }
  }

  function block(group: Waiting[]): void {
    for (const waiting of group) {
      waiting.lockTimeouts++
      if (!blocked.has(waiting.item.userId)) blocked.set(waiting.item.userId, [])
    }
    hold(group)
    // What is queued for these users goes with them, behind, or each would run into the lock anew.
    queue = hold(queue)
    checkLate()
    if (!isWatchingBlocked) void watchBlocked()
  }

  /** Puts those whose user is blocked with the others of that user, in the order in which they came; returns the rest. */
  function hold(waitings: Waiting[]): Waiting[] {
    const joined = new Set<Waiting[]>()
    const rest = waitings.filter((waiting) => {
      const others = blocked.get(waiting.item.userId)
      if (!others) return true
      others.push(waiting)
      joined.add(others)
      return false
    })
    for (const others of joined) others.sort((a, b) => a.since - b.since)
    return rest
  }

  /** Gives the blocked ones back to the queue as soon as their inboxes are free. Never rejects. */
  async function watchBlocked(): Promise<void> {
    isWatchingBlocked = true
    while (blocked.size > 0) {
      // Where that fails too, the groups find out.
      const free = await append.findUnlocked([...blocked.keys()]).catch(() => [...blocked.keys()])
      const released = free.flatMap((user) => blocked.get(user) ?? [])
      for (const user of free) blocked.delete(user)
      queue = released.concat(queue)
      flush()
      await delay(blockedRetryMs)
    }
    isWatchingBlocked = false
  }

  /** While anything waits, takes out what is late: however long the statements that are under way take. */
  function checkLate(): void {
    if (lateCheck !== undefined || (queue.length === 0 && blocked.size === 0)) return
    lateCheck = setTimeout(() => {
      lateCheck = undefined
      queue = withoutLate(queue)
      for (const [user, waitings] of blocked) {
        const rest = withoutLate(waitings, locked)
        if (rest.length > 0) blocked.set(user, rest)
        else blocked.delete(user)
      }
      checkLate()
    }, lateCheckMs)
  }
}

/** Items of one idempotency key within a group: the first stands for all. */
interface Distinct {
  item: AppendItem
  members: Waiting[]
}

function foldRepeats(group: Waiting[]): Distinct[] {
  const byKey = new Map<string, Distinct>()
  const distinct: Distinct[] = []
  for (const waiting of group) {
    const { item } = waiting
    const key =
      item.idempotency && JSON.stringify([item.idempotency.sender, item.idempotency.operation, item.idempotency.key])
    const known = key === null ? undefined : byKey.get(key)
    if (known) {
      known.members.push(waiting)
      continue
    }
    const one = { item, members: [waiting] }
    distinct.push(one)
    if (key !== null) byKey.set(key, one)
  }
  return distinct
}

const locked = "the user's inbox is locked"

/** Rejects those that have waited too long for a statement; returns the rest. */
function withoutLate(waitings: Waiting[], reason = 'the database is not keeping up'): Waiting[] {
  const cameAfter = performance.now() - queuedMsMax
  if (!waitings.some(({ since }) => since < cameAfter)) return waitings
  return waitings.filter(({ since, lockTimeouts, reject }) => {
    if (since >= cameAfter) return true
    reject(new CarillonError('UNAVAILABLE', `${lockTimeouts > 0 ? locked : reason}; try again later`))
    return false
  })
}

function rejectAll(waitings: Waiting[], error: unknown): void {
  for (const { reject } of waitings) reject(error)
}

function toCallerError(error: unknown): unknown {
  if (!isTransient(error)) return error
  return new CarillonError('UNAVAILABLE', 'the database did not answer; try again later', {}, error)
}

async function retryConflicts<T>(run: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await run()
    } catch (error) {
      const isConflict = ['40P01', '40001'].includes(sqlState(error) ?? '')
      if (!isConflict || attempt > conflictRetriesMax) throw error
    }
  }
}

const sizeOf = ({ title, body, data, url }: AppendItem) =>
  title.length + (body?.length ?? 0) + (data?.length ?? 0) + (url?.length ?? 0)
