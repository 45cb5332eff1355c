// A subscription's source that a test holds in its hands, and what it yields.
import type { SourceObserver } from '../../src/graphql/subscribe-operation.ts'
import type { NotificationReceived } from '../../src/notifications/events.ts'
import type { InboxState, Notification } from '../../src/notifications/notification.ts'

/** Events that a test pushes, or one after the other as fast as they are taken. */
export class TestSource implements AsyncIterableIterator<NotificationReceived>, SourceObserver {
  readonly writtenSeqs: number[] = []
  readonly confirmedSeqs: number[] = []
  wantsConfirmation = false
  nextCalls = 0
  returnCalls = 0
  readonly #queue: (() => Promise<IteratorResult<NotificationReceived>>)[] = []
  readonly #waiting: ((result: Promise<IteratorResult<NotificationReceived>>) => void)[] = []
  readonly #endless: Partial<Notification> | undefined

  constructor(endless?: Partial<Notification>) {
    this.#endless = endless
  }

  push(seq: number, overrides: Partial<Notification> = {}): NotificationReceived {
    const event = received(seq, overrides)
    this.#add(() => Promise.resolve({ done: false, value: event }))
    return event
  }

  fail(error: unknown): void {
    this.#add(() => Promise.reject(error))
  }

  end(): void {
    this.#add(() => Promise.resolve({ done: true, value: undefined }))
  }

  next(): Promise<IteratorResult<NotificationReceived>> {
    this.nextCalls += 1
    if (this.#endless) return Promise.resolve({ done: false, value: received(this.nextCalls, this.#endless) })
    const item = this.#queue.shift()
    return item ? item() : new Promise((resolve) => this.#waiting.push(resolve))
  }

  async return(): Promise<IteratorResult<NotificationReceived>> {
    this.returnCalls += 1
    return { done: true, value: undefined }
  }

  written(event: NotificationReceived): void {
    this.writtenSeqs.push(event.notification.seq)
  }

  confirmed(event: NotificationReceived): void {
    this.confirmedSeqs.push(event.notification.seq)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  #add(item: () => Promise<IteratorResult<NotificationReceived>>): void {
    const waiting = this.#waiting.shift()
    if (waiting) waiting(item())
    else this.#queue.push(item)
  }
}

export function received(seq: number, overrides: Partial<Notification> = {}): NotificationReceived {
  return {
    __typename: 'NotificationReceived',
    notification: notification(seq, overrides),
    inbox,
    cursor: `cursor-${seq}`,
    replayed: false,
  }
}

export function notification(seq: number, overrides: Partial<Notification> = {}): Notification {
  return {
    id: `id-${seq}`,
    userId: 'alice',
    seq,
    category: 'general',
    title: `title ${seq}`,
    body: null,
    data: null,
    url: null,
    priority: 'NORMAL',
    createdAt: Date.now() - 10,
    expiresAt: null,
    deliveredAt: null,
    seenAt: null,
    readAt: null,
    archivedAt: null,
    epoch: '0123456789abcdef',
    ...overrides,
  }
}

export const inbox: InboxState = {
  userId: 'alice',
  epoch: '0123456789abcdef',
  seq: 0,
  createdAt: 0,
  stateVersion: 0,
  undelivered: 1,
  unseen: 2,
  unread: 3,
}
