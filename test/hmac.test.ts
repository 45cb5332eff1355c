import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createHmacSha256 } from '../src/hmac.ts'

/** Longer ones are hashed first. */
const keyBytesMax = 64
const keys = fc.uint8Array({ maxLength: 3 * keyBytesMax }).map((bytes) => Buffer.from(bytes))
const payloads = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes))
/** Of one byte to four a character, and up to some 20,000 characters. */
const texts = fc
  .tuple(fc.string({ unit: 'binary', maxLength: 50 }), fc.constantFrom(0, 1, 1, 1, 20, 400))
  .map(([text, times]) => text.repeat(times))

const nodes = (key: Buffer, payload: Buffer, text: string) =>
  createHmac('sha256', key).update(payload).update(text).digest('hex')

test("is Node's createHmac for whatever key, payload and text, one after the other", () => {
  fc.assert(
    // Several of one key: what a long one has left behind must not get into a short one.
    fc.property(keys, fc.array(fc.tuple(payloads, texts), { minLength: 1, maxLength: 5 }), (key, messages) => {
      const hmac = createHmacSha256(key)
      for (const [payload, text] of messages) {
        expect(hmac(payload, text).toString('hex')).toBe(nodes(key, payload, text))
      }
    }),
  )
})

test('of two keys each keeps to its own', () => {
  const [one, other] = [Buffer.alloc(keyBytesMax, 1), Buffer.alloc(32, 2)]
  const hmacs = [one, other].map(createHmacSha256)
  const signed = () => hmacs.map((hmac) => hmac(Buffer.from('payload'), 'alice').toString('hex'))
  const expected = [one, other].map((key) => nodes(key, Buffer.from('payload'), 'alice'))
  expect([signed(), signed()]).toEqual([expected, expected])
})

test('answers as RFC 4231 does', () => {
  const hmac = createHmacSha256(Buffer.from('Jefe'))
  expect(hmac(Buffer.from('what do ya want '), 'for nothing?').toString('hex')).toBe(
    '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
  )
})
