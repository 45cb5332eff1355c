// A gap that opens while the log is being read is healed after gapWaitMs, not by the tail check seconds later.
import { pino } from 'pino'
import { expect, test, vi } from 'vitest'
import { createMetrics } from '../../src/metrics.ts'
import { createCursors } from '../../src/notifications/cursor.ts'
import type { Doorbell } from '../../src/notifications/doorbell.ts'
import type { InboxEvent } from '../../src/notifications/events.ts'
import type { Log, LogPage } from '../../src/notifications/log.ts'
import type { InboxState, Notification } from '../../src/notifications/notification.ts'
import { mailboxDoorbellsMax, Subscription } from '../../src/notifications/subscription.ts'

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
const bell = (seq: number): Doorbell => ({ inbox: inboxAt(seq), news: { kind: 'received', notifications: [nth(seq)] } })

/** A log whose reads take their snapshot at once and answer when told. */
function slowLog() {
  let head = 0
  const waiting: (() => void)[] = []
  const log: Log = {
    read(_, { after }) {
      const from = after?.seq ?? 0
      const upTo = Math.min(head, from + 100)
      const page: LogPage = {
        inbox: inboxAt(head),
        notifications: Array.from({ length: upTo - from }, (_, i) => nth(from + i + 1)),
        upTo: { seq: upTo, createdAt: 1000 + upTo },
        isComplete: upTo === head,
        isNextThere: true,
      }
      return new Promise((resolve) => waiting.push(() => resolve(page)))
    },
    heads: () => Promise.reject(new Error('not used')),
  }
  return {
    log,
    waiting,
    answer: () => waiting.shift()?.(),
    commit: (seq: number) => {
      head = seq
    },
  }
}

function subscribe(log: Log) {
  const subscription = new Subscription({
    userId: 'u',
    kind: 'notifications',
    after: null,
    log,
    cursors: createCursors(Buffer.alloc(32)),
    metrics: createMetrics(),
    logger: pino({ level: 'silent' }),
  })
  const seqs: number[] = []
  const consume = async () => {
    for await (const event of subscription as AsyncIterable<InboxEvent>)
      if ('notification' in event) seqs.push(event.notification.seq)
  }
  return { subscription, seqs, consume }
}

test('a doorbell that came early during a read opens a gap', async () => {
  const { log, waiting, answer, commit } = slowLog()
  const { subscription, seqs, consume } = subscribe(log)
  commit(1)
  const started = subscription.start()
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
  const { log, waiting, answer, commit } = slowLog()
  const { subscription, seqs, consume } = subscribe(log)
  const started = subscription.start()
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
