import { expect, test } from 'vitest'
import { rotateEpoch } from '../../src/notifications/epoch.ts'
import { readInbox } from '../../src/notifications/inbox.ts'
import { fill } from '../support/log.ts'
import { createSlice } from '../support/slice.ts'

test('is all zero for a user nobody has sent to, with the epoch of the database', async () => {
  await using slice = await createSlice()
  const epoch = await rotateEpoch(slice.database)
  expect(await readInbox(slice.database, 'nobody')).toEqual({
    userId: 'nobody',
    epoch,
    ...{ seq: 0, createdAt: 0, stateVersion: 0, undelivered: 0, unseen: 0, unread: 0 },
  })
})

test('has the head of the log, the state version and the counters', async () => {
  await using slice = await createSlice()
  const sent = await fill(slice, 'alice', 3)
  await slice.acknowledge('alice', 'delivered', { ids: [sent[0]?.id ?? ''] })
  await slice.acknowledge('alice', 'seen', { ids: [sent[0]?.id ?? ''] })
  expect(await readInbox(slice.database, 'alice')).toEqual({
    userId: 'alice',
    epoch: sent[2]?.epoch,
    seq: 3,
    createdAt: sent[2]?.createdAt,
    ...{ stateVersion: 2, undelivered: 2, unseen: 2, unread: 3 },
  })
})

test('is UNAVAILABLE without the database', async () => {
  const slice = await createSlice()
  await slice[Symbol.asyncDispose]()
  await expect(readInbox(slice.database, 'alice')).rejects.toThrow(expect.objectContaining({ code: 'UNAVAILABLE' }))
})
