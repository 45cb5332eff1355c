// How much of a log one read brings into memory.
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type LogPage, pageBytesMax, pageRowsMax } from '../../src/notifications/log.ts'
import type { Position } from '../../src/notifications/notification.ts'
import { fill } from '../support/log.ts'
import { createSlice, type Slice, takeSeqs } from '../support/slice.ts'

let slice: Slice
beforeEach(async () => {
  slice = await createSlice()
})
afterEach(() => slice[Symbol.asyncDispose]())

const userId = 'alice'
const heavy = { body: '€'.repeat(4_000), data: { text: 'x'.repeat(16_000) } }
/** Its texts in UTF-8. */
const heavyBytes = 28_000
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

async function pages(): Promise<LogPage[]> {
  const found: LogPage[] = []
  for (let after: Position = { seq: 0, createdAt: 0 }; ; ) {
    const page = await slice.log.read(userId, { after, undeliveredUpTo: 0, checkNext: false })
    found.push(page)
    if (page.isComplete) return found
    after = page.upTo
  }
}

const seqsOf = (page: LogPage | undefined) => page?.notifications.map(({ seq }) => seq)

test('a page of heavy rows is short, and the next one goes on behind it', async () => {
  await fill(slice, userId, 100, heavy)
  const found = await pages()
  expect(found.flatMap(({ notifications }) => notifications.map(({ seq }) => seq))).toEqual(range(1, 100))
  for (const { notifications, upTo, isComplete } of found.slice(0, -1)) {
    const bytes = notifications.reduce(
      (sum, { body, data }) => sum + Buffer.byteLength(body ?? '') + Buffer.byteLength(data ?? ''),
      0,
    )
    expect(bytes).toBeGreaterThan(pageBytesMax - 2 * heavyBytes)
    expect(bytes).toBeLessThan(pageBytesMax + heavyBytes)
    expect(isComplete).toBe(false)
    expect(upTo.seq).toBe(notifications.at(-1)?.seq)
  }
  expect(
    await takeSeqs(await slice.subscribe(userId, { kind: 'notifications', after: null, resumeAfter: null }), 100),
  ).toEqual(range(1, 100))
})

test('a page of small rows has as many as it may', async () => {
  await fill(slice, userId, pageRowsMax + 1)
  const [first, second] = await pages()
  expect(seqsOf(first)).toEqual(range(1, pageRowsMax))
  expect(seqsOf(second)).toEqual([pageRowsMax + 1])
})

test('what ends below both bounds is complete, also behind rows that nobody sees', async () => {
  const sent = await fill(slice, userId, 9, heavy)
  await slice.retract(sent[8]?.id ?? '')
  const found = await pages()
  expect(found).toHaveLength(1)
  expect(found[0]).toMatchObject({ isComplete: true, upTo: { seq: 9 } })
  expect(seqsOf(found[0])).toEqual(range(1, 8))
})
