import { expect, test } from 'vitest'
import { createConfirmations, unconfirmedMax } from '../../src/connections/confirmations.ts'

test('a pong confirms what was there when its ping went out, in order', () => {
  const pings: Buffer[] = []
  const confirmations = createConfirmations((payload) => pings.push(payload))
  const confirmed: number[] = []
  for (const n of [1, 2, 3]) confirmations.whenReceived(() => confirmed.push(n))
  expect(pings).toHaveLength(1)
  confirmations.pong(pings[0] ?? Buffer.alloc(0))
  expect(confirmed).toEqual([1])
  expect(pings).toHaveLength(2)
  // The first once more: a peer may answer twice.
  confirmations.pong(pings[0] ?? Buffer.alloc(0))
  expect(confirmed).toEqual([1])
  confirmations.pong(pings[1] ?? Buffer.alloc(0))
  expect(confirmed).toEqual([1, 2, 3])
  expect(pings).toHaveLength(2)
})

test('what is confirmed may ask for the next confirmation', () => {
  const pings: Buffer[] = []
  const confirmations = createConfirmations((payload) => pings.push(payload))
  const confirmed: number[] = []
  confirmations.whenReceived(() => confirmations.whenReceived(() => confirmed.push(2)))
  for (let i = 0; i < pings.length && i < 10; i++) confirmations.pong(pings[i] ?? Buffer.alloc(0))
  expect(confirmed).toEqual([2])
  expect(pings).toHaveLength(2)
})

test('does not grow for a peer that answers no ping', () => {
  const pings: Buffer[] = []
  const confirmations = createConfirmations((payload) => pings.push(payload))
  let confirmed = 0
  for (let i = 0; i < unconfirmedMax + 100; i++) confirmations.whenReceived(() => confirmed++)
  for (let i = 0; i < pings.length && i < 10; i++) confirmations.pong(pings[i] ?? Buffer.alloc(0))
  expect(confirmed).toBe(unconfirmedMax)
})
