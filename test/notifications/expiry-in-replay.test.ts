import { expect, test } from 'vitest'
import { pageRowsMax } from '../../src/notifications/log.ts'
import { createSlice } from '../support/slice.ts'

test('a replay without a cursor goes on where notifications pass the retention time meanwhile', async () => {
  await using slice = await createSlice()
  const inputs = Array.from({ length: pageRowsMax + 50 }, (_, n) => ({
    userId: 'u',
    category: 'c',
    title: `${n + 1}`,
    priority: 'NORMAL' as const,
  }))
  for (const input of inputs) await slice.send('service', input)
  const stream = await slice.subscribe('u', { kind: 'notifications', after: null, resumeAfter: null })
  const seqs: number[] = []
  const take = async () => {
    const { value } = await stream.next()
    if (value && 'notification' in value) seqs.push(value.notification.seq)
  }
  for (let n = 0; n < pageRowsMax; n++) await take()
  await slice.database.query(
    'age',
    `update carillon_state set retained_from = (select created_at from notifications where seq = ${pageRowsMax + 20})`,
    [],
  )
  await take()
  expect(seqs.at(-1)).toBeGreaterThan(pageRowsMax + 20)
  await stream.return()
})
