import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createCursors } from '../../src/notifications/cursor.ts'

const key = randomBytes(32)
const cursors = createCursors(key)
const epoch = '0123456789abcdef'

test('a cursor comes back as it went in', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary', maxLength: 50 }),
      fc.integer({ min: 0, max: 2 ** 31 - 1 }),
      fc.integer({ min: 0, max: 2 ** 42 }),
      fc.option(fc.integer({ min: 0, max: 2 ** 47 }), { nil: undefined }),
      (userId, seq, createdAt, stateVersion) => {
        const position = { seq, createdAt, ...(stateVersion !== undefined && { stateVersion }) }
        expect(cursors.decode(userId, cursors.encode(userId, epoch, position))).toEqual({ epoch, ...position })
      },
    ),
  )
})

test('is refused for another user, under another key, and with any character changed', () => {
  const cursor = cursors.encode('alice', epoch, { seq: 7, createdAt: 1_700_000_000_000 })
  const refused = expect.objectContaining({ code: 'CURSOR_INVALID' })
  expect(() => cursors.decode('bob', cursor)).toThrow(refused)
  expect(() => createCursors(randomBytes(32)).decode('alice', cursor)).toThrow(refused)
  for (let i = 0; i < cursor.length; i++) {
    const changed = cursor.slice(0, i) + (cursor[i] === 'A' ? 'Q' : 'A') + cursor.slice(i + 1)
    expect(() => cursors.decode('alice', changed), changed).toThrow(refused)
  }
})

test('is refused where it is no cursor at all', () => {
  for (const text of ['', 'x', '0', 'AAAA', 'A'.repeat(40), 'A'.repeat(10_000), '!!!', 'ä', '\u0000']) {
    expect(() => cursors.decode('alice', text)).toThrow(expect.objectContaining({ code: 'CURSOR_INVALID' }))
  }
})
