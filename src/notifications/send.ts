// Sending: validate, take a token where there is a limit (send-limit.ts), commit with whatever else is being sent
// (group-commit.ts), ring (the bus), answer. Accepted means committed to the database. Next: group-commit.ts, append.ts,
// and at the other end subscribe.ts.
import type { Bus } from '../bus/bus.ts'
import type { Clock } from '../clock.ts'
import { badUserInput, CarillonError } from '../errors.ts'
import { canonicalHash } from '../json.ts'
import type { Metrics } from '../metrics.ts'
import { newId } from '../new-id.mjs'
import type { Append, Appended, First, Idempotency } from './append.ts'
import type { Doorbell } from './doorbell.ts'
import { createGroupCommit } from './group-commit.ts'
import type { Content, Notification } from './notification.ts'
import type { SendLimit } from './send-limit.ts'
import { batchItemsMax, checkIdempotencyKey, type SendInput, validateContent } from './validate.ts'

/** Idempotency keys are apart by operation. */
export type SendOperation = 'sendNotification' | 'sendNotifications'

export interface Sent {
  notification: Notification
  duplicate: boolean
}

export type SendResult = { payload: Sent; error: null } | { payload: null; error: { code: string; message: string } }

export interface Send {
  /**
   * Fails with BAD_USER_INPUT, RATE_LIMITED, IDEMPOTENCY_CONFLICT, or UNAVAILABLE: the outcome may be unknown then, and
   * sending again with the same idempotency key is safe.
   */
  send(sender: string, input: SendInput): Promise<Sent>
  /** Each on its own, the results in order; to one user they are numbered in order. */
  sendMany(sender: string, inputs: readonly SendInput[]): Promise<SendResult[]>
}

export interface SendOptions {
  append: Append
  bus: Bus<Doorbell>
  clock: Clock
  /** Null where senders may send as much as they like. */
  limit: SendLimit | null
  metrics: Metrics
  /** An unexpected failure of one item of a batch: logs it, and masks it for the caller as that of an operation is. */
  onUnexpected(error: unknown): { message: string; extensions: { [name: string]: unknown } }
}

export function createSend({ append, bus, clock, limit, metrics, onUnexpected }: SendOptions): Send {
  const groupCommit = createGroupCommit({ append, onCommit: (appended) => ring(bus, metrics, appended) })

  async function send(sender: string, operation: SendOperation, input: SendInput): Promise<Sent> {
    const content = validateContent(input)
    const idempotency = input.idempotencyKey == null ? null : identify(sender, operation, input.idempotencyKey, content)
    if (content.expiresAt !== null && content.expiresAt <= clock.now()) {
      // A repeated send gets its first outcome, whatever has expired since.
      const [first] = idempotency ? await append.findFirst([idempotency]) : []
      if (!first) throw badUserInput('expiresAt must lie in the future')
      return repeated(first, idempotency)
    }
    if (limit !== null) await takeToken(limit, sender, operation)
    const committed = await groupCommit.commit({ id: newId(), ...content, idempotency })
    if ('first' in committed) return repeated(committed.first, idempotency)
    return { notification: committed.appended.notification, duplicate: false }
  }

  async function takeToken(limit: SendLimit, sender: string, operation: SendOperation): Promise<void> {
    const retryAfterMs = await limit.take(sender)
    if (retryAfterMs === 0) return
    metrics.rateLimited.inc({ operation })
    // In the message too, since the error of a batch's item has no extensions.
    const message = `the limit on this sender's notifications is reached; try again in ${retryAfterMs} ms`
    throw new CarillonError('RATE_LIMITED', message, { retryAfterMs })
  }

  return {
    send: (sender, input) => send(sender, 'sendNotification', input),
    async sendMany(sender, inputs) {
      if (inputs.length > batchItemsMax) throw badUserInput(`inputs must have ${batchItemsMax} items at most`)
      return Promise.all(
        inputs.map((input) =>
          send(sender, 'sendNotifications', input).then(
            (payload) => ({ payload, error: null }),
            (error: unknown) => {
              if (error instanceof CarillonError)
                return { payload: null, error: { code: error.code, message: error.message } }
              const { message, extensions } = onUnexpected(error)
              return { payload: null, error: { code: String(extensions.code), message } }
            },
          ),
        ),
      )
    },
  }
}

function repeated({ notification, hash }: First, idempotency: Idempotency | null): Sent {
  if (hash === idempotency?.hash) return { notification, duplicate: true }
  throw new CarillonError('IDEMPOTENCY_CONFLICT', 'this idempotency key was used with another input')
}

/** One doorbell a user for all that one statement appended. */
async function ring(bus: Bus<Doorbell>, metrics: Metrics, appended: readonly Appended[]): Promise<void> {
  const byUser = new Map<string, { inbox: Appended['inbox']; notifications: Notification[] }>()
  for (const { notification, inbox } of appended) {
    metrics.notificationsAccepted.inc({ priority: notification.priority })
    const user = byUser.get(notification.userId)
    if (user) user.notifications.push(notification)
    else byUser.set(notification.userId, { inbox, notifications: [notification] })
  }
  await bus.publish(
    [...byUser].map(([userId, { inbox, notifications }]) => ({
      userId,
      message: { inbox, news: { kind: 'received', notifications } },
    })),
  )
}

function identify(sender: string, operation: SendOperation, key: string, content: Content): Idempotency {
  checkIdempotencyKey(key)
  const hash = canonicalHash({ ...content, data: content.data === null ? null : JSON.parse(content.data) })
  return { sender, operation, key, hash }
}
