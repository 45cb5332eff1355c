// The seam between replay and live, where notifications get lost elsewhere: a stream of sends to one user while that
// user's devices lose their connections and come back. Two instances over one PostgreSQL and one Redis.
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type Fleet, request, serviceToken, startFleet, tokenFor } from '../support/server.ts'
import { Subscriber } from '../support/subscriber.ts'

// Ends up above 500, the last requests being answered a little later.
const sendsPerSecond = 560
const sendCount = 3_000
const sendsPerRequest = 5
const tickMs = 20
const resumingDevices = 5
const forgetfulDevices = 2
const reconnectsMin = 200
/** Many are shorter than a connection takes to be there, some long enough to be live for a while. */
const connectionMsMax = 250

let fleet: Fleet
beforeAll(async () => {
  // Without the tail check, which would make up for what the seam itself has to do.
  fleet = await startFleet({ instances: 2, env: { CARILLON_TAIL_CHECK_MS: '60000' } })
})
afterAll(() => fleet[Symbol.asyncDispose]())

test('a user whose devices come and go under a stream of sends misses none and gets none twice', async () => {
  const userId = 'seam-user'
  const token = await tokenFor(userId)
  const start = await headCursor(token)
  const acknowledged = new Set<number>()
  const resuming = Array.from({ length: resumingDevices }, () => createResumingDevice(token, start))
  const forgetful = Array.from({ length: forgetfulDevices }, () => createForgetfulDevice(token, acknowledged))

  let isSending = true
  const sending = sendSteadily(userId).finally(() => {
    isSending = false
  })
  const roaming = [...resuming, ...forgetful].map((device) => roam(device, () => isSending))
  const [sendsPerSecondReached, ...reconnects] = await Promise.all([sending, ...roaming])
  // Far below the pace there would be no seam to speak of.
  console.log(`${Math.round(sendsPerSecondReached)} sends a second`)
  expect(sendsPerSecondReached).toBeGreaterThan(sendsPerSecond / 4)
  expect(reconnects.reduce((sum, count) => sum + count)).toBeGreaterThan(reconnectsMin)

  const all = range(1, sendCount)
  const last = resuming.map((device) => device.connect(anyInstance()))
  try {
    await vi.waitFor(() => {
      for (const { seqs } of resuming) expect(seqs.at(-1)).toBe(sendCount)
    }, 5_000)
    for (const { seqs } of resuming) expect(seqs).toEqual(all)
  } finally {
    for (const connection of last) connection.drop()
  }
  expect(last.map(({ failure }) => failure).filter(Boolean)).toEqual([])

  const [one, other] = forgetful
  if (!one || !other) throw new Error('two forgetful devices were asked for')
  const rest = one.connect(anyInstance())
  const undelivered = async () => (await request(instance(0), token, '{ inbox { undeliveredCount } }')).data
  try {
    await vi.waitFor(async () => expect(await undelivered()).toEqual({ inbox: { undeliveredCount: 0 } }), 5_000)
  } finally {
    rest.drop()
  }
  // What one acknowledged the other needn't get.
  expect([...new Set([...one.seqs, ...other.seqs])].sort((a, b) => a - b)).toEqual(all)
  expect([...one.defects, ...other.defects]).toEqual([])
})

test('sixteen concurrent senders at both instances fill one log without a gap or a repeat', async () => {
  const userId = 'seam-many-senders'
  const token = await serviceToken()
  const sends = range(1, 16).map(async (sender) => {
    const seqs: number[] = []
    for (let i = 0; i < 25; i++) seqs.push((await send(token, instance(sender), { userId, title: `${sender}` })).seq)
    return seqs
  })
  const bySender = await Promise.all(sends)
  expect(bySender.flat().sort((a, b) => a - b)).toEqual(range(1, 16 * 25))
  for (const seqs of bySender) expect(seqs).toEqual([...seqs].sort((a, b) => a - b))
})

test('a hundred concurrent sends with one idempotency key are one notification', async () => {
  const userId = 'seam-one-key'
  const token = await serviceToken()
  const input = { userId, title: 'once', idempotencyKey: 'the key' }
  const sent = await Promise.all(range(1, 100).map((index) => send(token, instance(index), input)))
  expect(new Set(sent.map(({ id }) => id)).size).toBe(1)
  expect(new Set(sent.map(({ seq }) => seq))).toEqual(new Set([1]))
  expect(sent.filter(({ duplicate }) => !duplicate)).toHaveLength(1)
  const { data } = await request(instance(0), await tokenFor(userId), '{ history { nodes { id } } }')
  expect(data).toEqual({ history: { nodes: [{ id: sent[0]?.id }] } })
})

interface Device {
  /** What it has received, over all its connections. */
  seqs: number[]
  connect(url: string): { drop(): void; readonly failure: string | undefined }
}

interface Received {
  notifications: { id: string; seq: number; cursor: string }
}

const subscription = 'subscription { notifications { id seq cursor } }'

/** It keeps the cursor of the newest one that it received and comes back with that. */
function createResumingDevice(token: string, start: string): Device {
  const seqs: number[] = []
  let cursor = start
  return {
    seqs,
    connect: (url) =>
      new Subscriber<Received>(url, {
        token,
        query: subscription,
        after: cursor,
        onData({ notifications: { seq, cursor: newest } }) {
          seqs.push(seq)
          cursor = newest
        },
      }),
  }
}

/** It keeps nothing: it acknowledges what it received, and has to be sent the rest. */
function createForgetfulDevice(token: string, acknowledged: Set<number>): Device & { defects: string[] } {
  const seqs: number[] = []
  const defects: string[] = []
  return {
    seqs,
    defects,
    connect(url) {
      const acknowledgedBefore = new Set(acknowledged)
      let newest = 0
      const waiting: Received['notifications'][] = []
      let isAcknowledging = false
      const connection = new Subscriber<Received>(url, {
        token,
        query: subscription,
        onData({ notifications: notification }) {
          const { seq } = notification
          if (seq <= newest) defects.push(`${seq} after ${newest}`)
          if (acknowledgedBefore.has(seq)) defects.push(`${seq} again, though it was acknowledged`)
          newest = seq
          seqs.push(seq)
          waiting.push(notification)
          if (!isAcknowledging) void acknowledge()
        },
      })
      return connection

      async function acknowledge(): Promise<void> {
        isAcknowledging = true
        while (waiting.length > 0) {
          const group = waiting.splice(0, 100)
          const ids = group.map(({ id }) => id)
          const answer = await connection.request('mutation ($ids: [ID!]) { markDelivered(ids: $ids) { count } }', {
            ids,
          })
          if (answer?.errors) defects.push(JSON.stringify(answer.errors))
          for (const { seq } of group) acknowledged.add(seq)
        }
        isAcknowledging = false
      }
    },
  }
}

/** Connects and drops at random moments, at random instances, as long as it is told to. Returns how often. */
async function roam(device: Device, goesOn: () => boolean): Promise<number> {
  let count = 0
  while (goesOn()) {
    const connection = device.connect(anyInstance())
    await sleep(Math.random() * connectionMsMax)
    connection.drop()
    if (connection.failure) throw new Error(connection.failure)
    count++
  }
  return count
}

/**
 * At a steady pace, each request at the other instance than the one before; some are under way at a time. Returns the
 * pace that was reached, in sends a second.
 */
async function sendSteadily(userId: string): Promise<number> {
  const token = await serviceToken()
  const startedAt = performance.now()
  const requests: Promise<number[]>[] = []
  const inputs = Array.from({ length: sendsPerRequest }, () => ({ userId, title: 'Hello' }))
  while (requests.length < sendCount / sendsPerRequest) {
    const due = Math.min(sendCount, ((performance.now() - startedAt) / 1_000) * sendsPerSecond) / sendsPerRequest
    while (requests.length < due) requests.push(sendMany(token, instance(requests.length), inputs))
    await sleep(tickMs)
  }
  const seqs = (await Promise.all(requests)).flat()
  expect(seqs.sort((a, b) => a - b)).toEqual(range(1, sendCount))
  return sendCount / ((performance.now() - startedAt) / 1_000)
}

async function sendMany(token: string, url: string, inputs: object[]): Promise<number[]> {
  const { data, errors } = await request<{
    sendNotifications: { payload: { notification: { seq: number } } | null; error: { message: string } | null }[]
  }>(
    url,
    token,
    `mutation ($inputs: [SendNotificationInput!]!) {
      sendNotifications(inputs: $inputs) { payload { notification { seq } } error { message } }
    }`,
    { inputs },
  )
  if (!data) throw new Error(JSON.stringify(errors))
  return data.sendNotifications.map(({ payload, error }) => {
    if (!payload) throw new Error(error?.message)
    return payload.notification.seq
  })
}

async function send(token: string, url: string, input: Record<string, unknown>) {
  const { data, errors } = await request<{
    sendNotification: { notification: { id: string; seq: number }; duplicate: boolean }
  }>(
    url,
    token,
    'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { notification { id seq } duplicate } }',
    { input },
  )
  if (!data) throw new Error(JSON.stringify(errors))
  const { notification, duplicate } = data.sendNotification
  return { ...notification, duplicate }
}

/** Where a log begins that nobody has sent to yet. */
async function headCursor(token: string): Promise<string> {
  const { data } = await request<{ inbox: { headCursor: string } }>(instance(0), token, '{ inbox { headCursor } }')
  return data?.inbox.headCursor ?? ''
}

function instance(index: number): string {
  return fleet.servers[index % fleet.servers.length]?.url ?? ''
}

const anyInstance = () => instance(Math.floor(Math.random() * 1_000))

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index)
