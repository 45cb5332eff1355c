// A subscription over a log that answers when it is told to: what happens while it reads, waits for its turn, or fails.
import { afterEach, expect, test, vi } from 'vitest'
import { createMetrics } from '../../src/metrics.ts'
import { createCursors } from '../../src/notifications/cursor.ts'
import type { Doorbell } from '../../src/notifications/doorbell.ts'
import type { InboxEvent } from '../../src/notifications/events.ts'
import type { Log, LogPage, ReadRequest } from '../../src/notifications/log.ts'
import { createLogReads, gatherMs, type LogReads, waitMsMax } from '../../src/notifications/log-reads.ts'
import type { InboxState, Notification } from '../../src/notifications/notification.ts'
import { mailboxDoorbellsMax, readRetryMinMs, Subscription } from '../../src/notifications/subscription.ts'

afterEach(() => void vi.useRealTimers())

const epoch = '0123456789abcdef'
const inboxAt = (seq: number): InboxState => ({
  userId: 'u',
  epoch,
  seq,
  createdAt: 1000 + seq,
  stateVersion: 0,
  undelivered: seq,
  unseen: seq,
  unread: seq,
})
const nth = (seq: number): Notification => ({
  id: `00000000-0000-7000-8000-${String(seq).padStart(12, '0')}`,
  userId: 'u',
  seq,
  category: 'c',
  title: 't',
  body: null,
  data: null,
  url: null,
  priority: 'NORMAL',
  createdAt: 1000 + seq,
  expiresAt: null,
  deliveredAt: null,
  seenAt: null,
  readAt: null,
  archivedAt: null,
  epoch,
})
const bell = (seq: number): Doorbell => ({
  inbox: { ...inboxAt(seq), createdAtBefore: seq === 1 ? null : 999 + seq },
  news: { kind: 'received', notifications: [nth(seq)] },
})

/** A log whose reads take their snapshot at once and answer when told. */
function slowLog() {
  let head = 0
  let isNextThere = true
  const waiting: (() => void)[] = []
  const pageAfter = ({ after }: ReadRequest): LogPage => {
    const from = after?.seq ?? 0
    const upTo = Math.min(head, from + 100)
    return {
      inbox: inboxAt(head),
      notifications: Array.from({ length: upTo - from }, (_, i) => nth(from + i + 1)),
      upTo: { seq: upTo, createdAt: 1000 + upTo },
      isComplete: upTo === head,
      isSameLog: true,
      isNextThere,
    }
  }
  const log: Log = {
    read(requests) {
      const pages = requests.map(pageAfter)
      return new Promise((resolve) => waiting.push(() => resolve(pages)))
    },
    heads: () => Promise.reject(new Error('not used')),
  }
  return {
    log,
    logReads: createLogReads(log),
    waiting,
    answer: () => waiting.shift()?.(),
    commit: (seq: number) => {
      head = seq
    },
    /** The rows after any cursor pass the retention time. */
    forget: () => {
      isNextThere = false
    },
  }
}

function subscribe(logReads: LogReads, onReadFailed: (error: unknown) => void = () => {}) {
  const subscription = new Subscription(
    { userId: 'u', kind: 'notifications', after: null },
    { logReads, cursors: createCursors(Buffer.alloc(32)), clock: Date, metrics: createMetrics(), onReadFailed },
  )
  const seqs: number[] = []
  const consume = async () => {
    for await (const event of subscription as AsyncIterable<InboxEvent>)
      if ('notification' in event) seqs.push(event.notification.seq)
  }
  return { subscription, seqs, consume }
}

test('a doorbell that came early during a read opens a gap', async () => {
  const { logReads, waiting, answer, commit } = slowLog()
  const { subscription, seqs, consume } = subscribe(logReads)
  commit(1)
  const started = subscription.start()
  await vi.waitFor(() => expect(waiting.length).toBe(1))
  // Two more commits after the snapshot; the first one's doorbell is lost.
  commit(3)
  subscription.ring(bell(3))
  answer()
  await started
  void consume()
  await vi.waitFor(() => expect(waiting.length).toBe(1), 1000)
  answer()
  await vi.waitFor(() => expect(seqs).toEqual([1, 2, 3]), 1000)
  await subscription.return()
})

test('what overflowed during a read is read', async () => {
  const { logReads, waiting, answer, commit } = slowLog()
  const { subscription, seqs, consume } = subscribe(logReads)
  const started = subscription.start()
  await vi.waitFor(() => expect(waiting.length).toBe(1))
  const last = mailboxDoorbellsMax + 1
  commit(last)
  for (let seq = 1; seq <= last; seq++) subscription.ring(bell(seq))
  answer()
  await started
  void consume()
  for (let page = 0; page < 3; page++) {
    await vi.waitFor(() => expect(waiting.length).toBe(1), 1000)
    answer()
  }
  await vi.waitFor(() => expect(seqs.length).toBe(last), 1000)
  await subscription.return()
})

test('reads in its turn, a page a turn', async () => {
  const { logReads, waiting, answer, commit } = slowLog()
  commit(150)
  const first = subscribe(logReads)
  const second = subscribe(logReads)
  const started = [first.subscription.start(), second.subscription.start()]
  await vi.waitFor(() => expect(waiting.length).toBe(1))
  void first.consume()
  void second.consume()
  // The first has another page to read, and waits behind the second.
  for (const pages of [
    [100, 0],
    [100, 100],
    [150, 100],
    [150, 150],
  ]) {
    answer()
    await vi.waitFor(() => expect([first.seqs.length, second.seqs.length]).toEqual(pages), { interval: 1 })
    expect(waiting.length).toBeLessThanOrEqual(1)
  }
  await Promise.all(started)
  await first.subscription.return()
  await second.subscription.return()
})

test('reads nothing where it ended while it waited for its turn', async () => {
  const { log, logReads, waiting, answer } = slowLog()
  const read = vi.spyOn(log, 'read')
  const [first, second, third] = [1, 2, 3].map(() => subscribe(logReads).subscription)
  const starts = [first, second, third].map((subscription) => subscription?.start())
  await second?.return()
  await starts[1]
  expect(read).toHaveBeenCalledTimes(1)
  answer()
  await starts[0]
  await vi.waitFor(() => expect(waiting.length).toBe(1))
  answer()
  await starts[2]
  expect(read.mock.calls.map(([requests]) => requests.length)).toEqual([1, 1])
})

test('reads nothing where it ends just as its turn comes, and leaves it to the next', async () => {
  const { log, logReads, waiting, answer } = slowLog()
  const read = vi.spyOn(log, 'read')
  const [first, second, third] = [1, 2, 3].map(() => subscribe(logReads).subscription)
  const starts = [first, second, third].map((subscription) => subscription?.start())
  answer()
  void second?.return()
  await starts[1]
  await vi.waitFor(() => expect(waiting.length).toBe(1))
  answer()
  await Promise.all(starts)
  expect(read.mock.calls.map(([requests]) => requests.length)).toEqual([1, 1])
})

test('reads nothing where it has ended before it starts', async () => {
  const { log, logReads } = slowLog()
  const read = vi.spyOn(log, 'read')
  const { subscription } = subscribe(logReads)
  await subscription.return()
  await subscription.start()
  expect(read).not.toHaveBeenCalled()
})

test('holds its turn until its read is over, though it has ended', async () => {
  const { log, logReads, answer } = slowLog()
  const read = vi.spyOn(log, 'read')
  const [first, second] = [1, 2].map(() => subscribe(logReads).subscription)
  const starts = [first, second].map((subscription) => subscription?.start())
  await vi.waitFor(() => expect(read).toHaveBeenCalledTimes(1))
  await first?.return()
  await new Promise((resolve) => setImmediate(resolve))
  expect(read).toHaveBeenCalledTimes(1)
  answer()
  await vi.waitFor(() => expect(read).toHaveBeenCalledTimes(2))
  answer()
  await Promise.all(starts)
})

test('many that could not read their logs do not try again at one moment', async () => {
  vi.useFakeTimers()
  const onReadFailed = vi.fn()
  const failure = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
  const triedAt: number[] = []
  const logReads = createLogReads({
    read(requests) {
      triedAt.push(...requests.map(() => Date.now()))
      return Promise.reject(failure)
    },
  })
  const subscriptions = Array.from({ length: 100 }, () => {
    const { subscription, consume } = subscribe(logReads, onReadFailed)
    void consume()
    return subscription
  })
  const failedAt = Date.now()
  await vi.advanceTimersByTimeAsync(gatherMs)
  // In turn, and none keeps the others waiting while it waits to try again.
  expect(onReadFailed.mock.calls).toEqual(subscriptions.map(() => [failure]))
  await vi.advanceTimersByTimeAsync(readRetryMinMs + waitMsMax)
  const delays = triedAt.slice(100, 200).map((at) => at - failedAt)
  expect(delays.length).toBe(100)
  expect(Math.min(...delays)).toBeGreaterThanOrEqual(readRetryMinMs / 2)
  // Over half of the time, in what the reads gather.
  expect(new Set(delays).size).toBeGreaterThan(readRetryMinMs / 2 / gatherMs / 2)
  expect(Math.max(...delays) - Math.min(...delays)).toBeGreaterThan(readRetryMinMs / 4)
  for (const subscription of subscriptions) await subscription.return()
})

test('a live stream that has been behind for longer than the retention time ends with CURSOR_EXPIRED', async () => {
  const { logReads, waiting, answer, commit, forget } = slowLog()
  const { subscription, consume } = subscribe(logReads)
  const started = subscription.start()
  await vi.waitFor(() => expect(waiting.length).toBe(1))
  answer()
  await started
  const consumed = consume()
  // The doorbells of two are lost, and nobody looks before they are past it.
  commit(3)
  forget()
  subscription.ring(bell(3))
  await vi.waitFor(() => expect(waiting.length).toBe(1), 1000)
  answer()
  await expect(consumed).rejects.toMatchObject({ code: 'CURSOR_EXPIRED' })
})

test('a replay goes on over what passes the retention time meanwhile', async () => {
  const { logReads, waiting, answer, commit, forget } = slowLog()
  commit(150)
  const { subscription, seqs, consume } = subscribe(logReads)
  const started = subscription.start()
  await vi.waitFor(() => expect(waiting.length).toBe(1))
  answer()
  await started
  forget()
  void consume()
  await vi.waitFor(() => expect(waiting.length).toBe(1), 1000)
  answer()
  await vi.waitFor(() => expect(seqs).toHaveLength(150), 1000)
  await subscription.return()
})
