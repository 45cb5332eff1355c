// Many want the same thing at once: one key, one inbox, one lock. Each log is numbered as if they had come one by one, no
// caller learns of the crowd, and who waits for a lock waits alone.
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { groupsInFlightMax } from '../../src/notifications/group-commit.ts'
import { lockTimeoutMs } from '../../src/postgres.ts'
import { serviceToken } from '../support/server.ts'
import { type FaultFleet, startFaultFleet } from './support/fleet.ts'
import { figure, sized } from './support/scale.ts'
import { watch } from './support/watch.ts'
import { flawless, quantile, Workload } from './support/workload.ts'
import { post } from './support/writers.ts'

/** What a loaded machine adds to the bounds. */
const slackMs = 500
const requestMsMax = 30_000
/** What a broken fleet does not deliver soon it never will. */
const controlSettleMs = 500

let fleet: FaultFleet
beforeAll(async () => {
  fleet = await startFaultFleet()
})
afterAll(() => fleet[Symbol.asyncDispose]())

test('one key a hundred times at once over two instances: one notification, whatever else comes under that key', async () => {
  await using workload = await Workload.start({ fleet, perSecond: 50 })
  const token = await serviceToken()
  const send = async (place: number, input: object) => {
    const { data, errors } = await post<Sent>(fleet.instance(place).url, token, sendOne, { input }, requestMsMax)
    return data?.sendNotification ?? errors?.[0]?.extensions.code
  }
  const rounds = sized(3, 50)
  for (let round = 0; round < rounds; round++) {
    const userId = workload.userIds[round % workload.userIds.length] ?? ''
    const title = `${userId}/one-key-${round}`
    const input = { userId, title, idempotencyKey: title }
    workload.writers.attempted.add(title)
    const answers = await Promise.all(Array.from({ length: 100 }, (_, place) => send(place, input)))
    const [first] = answers.flatMap((answer) => (typeof answer === 'object' && !answer.duplicate ? [answer] : []))
    if (!first) throw new Error(`nobody was first: ${JSON.stringify(answers)}`)
    workload.writers.accepted.push({ ...first.notification, title, acceptedAt: performance.now() })
    const repeated = { ...first, duplicate: true }
    expect(answers.filter((answer) => answer !== first)).toEqual(Array.from({ length: 99 }, () => repeated))
    const altered = Array.from({ length: 4 }, (_, place) => send(place, { ...input, body: 'altered' }))
    expect(await Promise.all(altered)).toEqual(Array.from({ length: 4 }, () => 'IDEMPOTENCY_CONFLICT'))
  }
  expect(await workload.verdict()).toEqual(flawless)
  figure('19. One key a hundred times', { rounds })
})

test('32 senders of random batches to 8 users: no deadlock reaches a caller', async () => {
  const { verdict, refusals, figures } = await contend(fleet, sized(4, 100))
  expect(verdict).toEqual(flawless)
  expect(refusals).toEqual(new Map())
  figure('20. 32 senders over 8 users', figures)
})

test('control: where a number is not read under the lock of its row, the senders in a crowd show it', async () => {
  await using broken = await startFaultFleet({
    sabotage: [
      {
        file: 'notifications/append.js',
        find: 'last_seq = b.last_seq + excluded.last_seq',
        replace: 'last_seq = (select i.last_seq from inboxes i where i.user_id = excluded.user_id) + excluded.last_seq',
      },
    ],
  })
  const { verdict } = await contend(broken, 4, controlSettleMs)
  expect(verdict.holes).not.toEqual([])
})

test('an inbox locked from outside: only sends to its user wait', async () => {
  await using workload = await Workload.start({ fleet, perSecond: 0, sendTo: [0] })
  const { accepted, tookMs, failures } = workload.writers
  // In the middle of those who are sent to at once, and share statements.
  const lockedId = workload.userIds[5] ?? ''
  const sending = watch(100, async () => {
    for (const userId of workload.userIds) void workload.writers.send(userId)
  })
  await sleep(sized(1_000, 2_000))
  const { lockedAt, freeAt } = await lockInbox(lockedId, sized(2_000, 3_000))
  await sending[Symbol.asyncDispose]()
  expect(await workload.verdict()).toEqual(flawless)
  expect(failures).toEqual(new Map())

  const sends = accepted.map((one, index) => ({ ...one, begunAt: one.acceptedAt - (tookMs[index] ?? 0) }))
  const p99 = (from: number, until: number) => {
    const some = sends.filter(({ userId, begunAt }) => userId !== lockedId && begunAt > from && begunAt < until)
    const ascending = some.map(({ begunAt, acceptedAt }) => acceptedAt - begunAt).sort((a, b) => a - b)
    return quantile(ascending, 0.99)
  }
  const ofOthers = { before: p99(0, lockedAt), meanwhile: p99(lockedAt, freeAt) }
  const waited = sends.filter(
    ({ userId, begunAt, acceptedAt }) =>
      userId !== lockedId && begunAt > lockedAt && begunAt < (lockedAt + freeAt) / 2 && acceptedAt > freeAt,
  )
  const toLocked = sends.filter(({ userId, begunAt }) => userId === lockedId && begunAt > lockedAt)
  const wentOnMs = Math.min(...toLocked.map(({ acceptedAt }) => acceptedAt)) - freeAt
  figure('23b. An inbox locked', {
    'p99 of the others meanwhile ms': ofOthers.meanwhile,
    'before ms': ofOthers.before,
    'its own went on after ms': wentOnMs,
  })
  expect(waited).toEqual([])
  // One statement of each that is under way meets the lock, gives up, and is carried out without that user.
  expect(ofOthers.meanwhile).toBeLessThan(2 * ofOthers.before + groupsInFlightMax * lockTimeoutMs + slackMs)
  expect(wentOnMs).toBeGreaterThanOrEqual(0)
  expect(wentOnMs).toBeLessThan(2 * ofOthers.before + slackMs)
})

/** By somebody who is none of the servers, for `ms`. */
async function lockInbox(userId: string, ms: number) {
  const outside = new pg.Client({ connectionString: fleet.postgres.url })
  await outside.connect()
  try {
    await outside.query('begin')
    await outside.query('select from inboxes where user_id = $1 for update', [userId])
    const lockedAt = performance.now()
    await sleep(ms)
    return { lockedAt, freeAt: performance.now() }
  } finally {
    // Which ends its transaction.
    await outside.end()
  }
}

const sendersCount = 32
const usersCount = 8
const batchItemsMax = 20

/** Senders that each send so many batches, one after the other, of random size and order of users, to either instance. */
async function contend(fleet: FaultFleet, batchesEach: number, settleMs?: number) {
  await using workload = await Workload.start({ fleet, users: usersCount, perSecond: 0 })
  const { attempted, accepted } = workload.writers
  const token = await serviceToken()
  const refusals = new Map<string, number>()
  const tookMs: number[] = []
  const begunAt = performance.now()

  async function sendBatches(sender: number): Promise<void> {
    for (let batch = 0; batch < batchesEach; batch++) {
      const inputs = Array.from({ length: 1 + random(batchItemsMax) }, (_, item) => {
        const userId = workload.userIds[random(usersCount)] ?? ''
        const title = `${userId}/${sender}-${batch}-${item}`
        return { userId, title, idempotencyKey: title }
      })
      for (const { title } of inputs) attempted.add(title)
      const sentAt = performance.now()
      const { url } = fleet.instance(sender + batch)
      const { data, errors } = await post<SentMany>(url, token, sendMany, { inputs }, requestMsMax)
      const acceptedAt = performance.now()
      tookMs.push(acceptedAt - sentAt)
      for (const [item, { title }] of inputs.entries()) {
        const { payload, error } = data?.sendNotifications[item] ?? {}
        const code = error?.code ?? errors?.[0]?.extensions.code ?? 'none'
        if (payload) accepted.push({ ...payload.notification, title, acceptedAt })
        else refusals.set(code, (refusals.get(code) ?? 0) + 1)
      }
    }
  }

  await Promise.all(Array.from({ length: sendersCount }, (_, sender) => sendBatches(sender)))
  const seconds = (performance.now() - begunAt) / 1_000
  tookMs.sort((a, b) => a - b)
  return {
    verdict: await workload.verdict(settleMs),
    refusals,
    figures: {
      accepted: accepted.length,
      'a second': accepted.length / seconds,
      'p99 of a batch ms': quantile(tookMs, 0.99),
      'slowest ms': tookMs.at(-1) ?? 0,
    },
  }
}

const random = (below: number) => Math.floor(Math.random() * below)

interface Payload {
  notification: { id: string; seq: number; userId: string }
  duplicate: boolean
}

interface Sent {
  sendNotification: Payload
}

interface SentMany {
  sendNotifications: { payload: Payload | null; error: { code: string } | null }[]
}

const sendOne = `mutation ($input: SendNotificationInput!) {
  sendNotification(input: $input) { notification { id seq userId } duplicate }
}`
const sendMany = `mutation ($inputs: [SendNotificationInput!]!) {
  sendNotifications(inputs: $inputs) { payload { notification { id seq userId } duplicate } error { code } }
}`
