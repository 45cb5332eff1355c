import { expect, test } from 'vitest'
import { createTurns } from '../../src/notifications/turns.ts'

/** Waits for turns, and writes down whose have come. */
function queue(max: number) {
  const turns = createTurns(max)
  const come: number[] = []
  const wait = (name: number) => {
    const { hasCome, giveUp } = turns.wait()
    return { giveUp, over: hasCome.then((has) => void (has && come.push(name))) }
  }
  const settled = () => new Promise((resolve) => setImmediate(resolve))
  return { turns, come, wait, settled }
}

test('come first, are served first, so many at a time', async () => {
  const { turns, come, wait, settled } = queue(2)
  for (const name of [1, 2, 3, 4, 5]) wait(name)
  await settled()
  expect(come).toEqual([1, 2])
  turns.end()
  await settled()
  expect(come).toEqual([1, 2, 3])
  turns.end()
  turns.end()
  await settled()
  expect(come).toEqual([1, 2, 3, 4, 5])
})

test('a turn that ended while nobody waited is there for who comes next', async () => {
  const { turns, come, wait, settled } = queue(1)
  wait(1)
  turns.end()
  wait(2)
  wait(3)
  await settled()
  expect(come).toEqual([1, 2])
  turns.end()
  await settled()
  // What has waited since, too.
  wait(4)
  turns.end()
  await settled()
  expect(come).toEqual([1, 2, 3, 4])
})

test('one that is given up is passed over, and gives nothing up once it has come', async () => {
  const { turns, come, wait, settled } = queue(1)
  const [first, second] = [wait(1), wait(2), wait(3)]
  second?.giveUp()
  await second?.over
  first?.giveUp()
  await settled()
  expect(come).toEqual([1])
  turns.end()
  await settled()
  expect(come).toEqual([1, 3])
})

test('all that wait can be given up at once, and whoever comes next has the turn', async () => {
  const { turns, come, wait, settled } = queue(1)
  const [, second, third] = [wait(1), wait(2), wait(3)]
  turns.giveUpAll()
  await Promise.all([second?.over, third?.over])
  wait(4)
  wait(5)
  await settled()
  expect(come).toEqual([1, 4])
})
