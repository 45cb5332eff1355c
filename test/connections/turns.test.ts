import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createTurns } from '../../src/connections/turns.ts'

test('who comes alone is served at once, a crowd so many in each turn, in order', async () => {
  const inTurn = createTurns(3)
  const served: number[] = []
  const come = (number: number) => inTurn(() => void served.push(number))
  come(0)
  expect(served).toEqual([0])
  for (let number = 1; number < 8; number++) come(number)
  expect(served).toEqual([0, 1, 2])
  await nextTurn()
  expect(served).toEqual([0, 1, 2, 3, 4, 5])
  // Who comes now stands behind those who wait.
  come(8)
  expect(served).toHaveLength(6)
  await nextTurn()
  expect(served).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8])
  await nextTurn()
  await nextTurn()
  come(9)
  expect(served.at(-1)).toBe(9)
})
