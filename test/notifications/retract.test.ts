import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readInbox } from '../../src/notifications/inbox.ts'
import { doorbells, fill, makeExpired, makeOlder, miscounted, readPage } from '../support/log.ts'
import { createSlice, retentionMs, type Slice } from '../support/slice.ts'

let slice: Slice
beforeAll(async () => {
  slice = await createSlice()
})
afterAll(() => slice[Symbol.asyncDispose]())

const newUser = () => `user-${randomUUID()}`

test('takes a notification back once: it is read no more, its counters go, its user hears of it', async () => {
  const userId = newUser()
  const [first, second] = await fill(slice, userId, 2)
  const rung = doorbells(slice.bus, userId)
  expect(await slice.retract(first?.id.toUpperCase() ?? '')).toBe(true)
  const inbox = await readInbox(slice.database, userId)
  expect(inbox).toMatchObject({ seq: 2, stateVersion: 1, undelivered: 1, unseen: 1, unread: 1 })
  expect(rung).toEqual([{ inbox, news: { kind: 'removed', ids: [first?.id], bumps: 1 } }])
  const { notifications } = await readPage(slice.log, userId, { after: null, undeliveredUpTo: null, checkNext: false })
  expect(notifications).toEqual([second])
  expect(await slice.retract(first?.id ?? '')).toBe(false)
  expect(await readInbox(slice.database, userId)).toEqual(inbox)
  expect(rung.length).toBe(1)
})

test('subtracts only what was still counted', async () => {
  const userId = newUser()
  const [seen, archived] = await fill(slice, userId, 2)
  await slice.acknowledge(userId, 'seen', { ids: [seen?.id ?? ''] })
  await slice.acknowledge(userId, 'archived', { ids: [archived?.id ?? ''] })
  expect(await slice.retract(seen?.id ?? '')).toBe(true)
  expect(await slice.retract(archived?.id ?? '')).toBe(true)
  expect(await readInbox(slice.database, userId)).toMatchObject({
    undelivered: 0,
    unseen: 0,
    unread: 0,
    stateVersion: 4,
  })
  expect(await miscounted(slice.database)).toEqual([])
})

test('is false for what is unknown, no id, expired, or past the retention time', async () => {
  const userId = newUser()
  const [old, expired] = await fill(slice, userId, 2)
  await makeExpired(slice.database, userId, 2)
  await makeOlder(slice.database, userId, 1, retentionMs + 1_000)
  for (const id of [randomUUID(), 'no id', '', old?.id ?? '', expired?.id ?? '']) {
    expect(await slice.retract(id)).toBe(false)
  }
  expect(await readInbox(slice.database, userId)).toMatchObject({ undelivered: 2, stateVersion: 0 })
})

test('ten at once take it back once', async () => {
  const userId = newUser()
  const [one] = await fill(slice, userId, 1)
  const results = await Promise.all(Array.from({ length: 10 }, () => slice.retract(one?.id ?? '')))
  expect(results.filter(Boolean).length).toBe(1)
  expect(await readInbox(slice.database, userId)).toMatchObject({ undelivered: 0, stateVersion: 1 })
})
