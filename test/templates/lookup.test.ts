import { expect, test } from 'vitest'
import { lookup } from '../../src/templates/lookup.mjs'

test.each([
  ['pt-BR', ['pt-BR', 'pt', 'en'], 'pt-BR'],
  ['pt-BR', ['pt', 'en'], 'pt'],
  ['pt-BR', ['pt-PT', 'en'], null],
  ['pt', ['pt-BR', 'en'], null],
  ['zh-Hant-TW', ['zh-TW', 'zh-Hant', 'zh'], 'zh-Hant'],
  ['zh-Hant-TW', ['zh', 'en'], 'zh'],
  // A single letter or digit goes together with what is behind it.
  ['en-US-u-ca-gregory', ['en-US-u', 'en-US'], 'en-US'],
  ['en-x-a-b', ['en-x', 'en-x-a', 'en'], 'en'],
  ['x-private', ['x'], null],
  ['__proto__', ['en'], null],
])('%s among %j reads %s', (locale, available, expected) => {
  expect(lookup(locale, (range) => available.includes(range))).toBe(expected)
})
