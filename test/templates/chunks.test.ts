import { expect, test } from 'vitest'
import { createChunks } from '../../src/templates/chunks.mjs'

function chunksOf(outcomes: Record<string, string | null>, itemsMax: number, charactersMax: number) {
  const chunks = createChunks(itemsMax, charactersMax)
  for (const [user, item] of Object.entries(outcomes)) {
    if (item === null) chunks.fail(user)
    else chunks.add(user, item)
  }
  return chunks.finish()
}

test('a chunk has as many items as it may, and those who fail behind them', () => {
  expect(chunksOf({ a: '1', b: null, c: '3', d: null, e: '5', f: null }, 2, 100)).toEqual([
    { items: '[1,3]', count: 2, failed: 2, upTo: 'd' },
    { items: '[5]', count: 1, failed: 1, upTo: 'f' },
  ])
})

test('a chunk has as many characters as it may', () => {
  const [first, ...rest] = chunksOf({ a: '11', b: '22', c: '33' }, 10, '[11,22]'.length)
  expect(first).toEqual({ items: '[11,22]', count: 2, failed: 0, upTo: 'b' })
  expect(rest).toEqual([{ items: '[33]', count: 1, failed: 0, upTo: 'c' }])
  expect(chunksOf({ a: '11', b: '22' }, 10, '[11,22]'.length - 1)).toHaveLength(2)
})

test('an item that is larger than a chunk has one of its own', () => {
  const chunks = chunksOf({ a: '1', b: '22222', c: '3' }, 10, 5)
  expect(chunks.map(({ items }) => items)).toEqual(['[1]', '[22222]', '[3]'])
})

test('where all fail there is a chunk without items, and of nobody there is none', () => {
  expect(chunksOf({ a: null, b: null }, 10, 100)).toEqual([{ items: '[]', count: 0, failed: 2, upTo: 'b' }])
  expect(chunksOf({}, 10, 100)).toEqual([])
})
