import { expect, test } from 'vitest'
import { describeConfig, loadConfig } from '../../src/config.ts'
import { pages, readDocument, tableUnder } from './markdown.ts'

const settings = describeConfig(loadConfig({}))

test('the operating page has every setting with its default, and no other', () => {
  const documented = tableUnder(readDocument('docs/OPERATING.md'), '## Settings')
  const defaults = documented.map(([name, fallback]) => [name, fallback])
  expect(defaults).toEqual(settings.map((row) => [row.name, row.default]))
  for (const [name, , meaning] of documented) expect(meaning, `the meaning of ${name}`).not.toBe('')
})

test.each(pages)('%s names no setting that there is not', (path) => {
  const known = new Set(settings.flatMap(({ name }) => [name, `${name}_FILE`]))
  const named = readDocument(path).match(/\bCARILLON_\w*[A-Z]\b/g) ?? []
  expect(named.filter((name) => !known.has(name))).toEqual([])
})
