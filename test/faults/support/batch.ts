// A few notifications at a time, for cases that have to know exactly what was sent when.
import { setTimeout as sleep } from 'node:timers/promises'
import { serviceToken } from '../../support/server.ts'
import { post } from './writers.ts'

const retryMs = 50
const retryMsMax = 20_000
const requestMsMax = 10_000

const mutation = `mutation ($inputs: [SendNotificationInput!]!) {
  sendNotifications(inputs: $inputs) { payload { notification { id seq title } } error { code message } }
}`

export interface BatchItem {
  userId: string
  /** Of whatever is sent to this user, unlike the others: it is the idempotency key too. */
  title: string
}

export interface Sent {
  id: string
  seq: number
  title: string
}

/** All of them are accepted when it returns; tried again while the server is not available. */
export async function sendBatch(url: string, inputs: readonly BatchItem[]): Promise<Sent[]> {
  const token = await serviceToken()
  const variables = { inputs: inputs.map((input) => ({ ...input, idempotencyKey: input.title })) }
  const giveUpAt = performance.now() + retryMsMax
  for (;;) {
    const answer = await post<SendData>(url, token, mutation, variables, requestMsMax)
    const results = answer.data?.sendNotifications ?? []
    const sent = results.flatMap(({ payload }) => payload?.notification ?? [])
    if (inputs.length > 0 && sent.length === inputs.length) return sent
    const codes = new Set(results.flatMap(({ error }) => error?.code ?? []))
    const mayPass = [...codes].every((code) => code === 'UNAVAILABLE') && performance.now() < giveUpAt
    if (!mayPass) throw new Error(`not all were accepted: ${JSON.stringify(answer)}`)
    await sleep(retryMs)
  }
}

interface SendData {
  sendNotifications: { payload: { notification: Sent } | null; error: { code: string; message: string } | null }[]
}
