import { expect, test } from 'vitest'
import { errorCodes } from '../../src/errors.ts'
import { readDocument, tableUnder } from './markdown.ts'

test('the protocol names every error code with its meaning, and no other', () => {
  const documented = tableUnder(readDocument('docs/PROTOCOL.md'), '## Errors').map(([code, meaning]) => [code, meaning])
  expect(documented).toEqual(Object.entries(errorCodes))
})
