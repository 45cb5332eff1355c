import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { pages, readDocument } from './markdown.ts'

test.each(pages)('%s links to pages and names files that there are', (path) => {
  const text = readDocument(path)
  const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, target = '']) => join(dirname(path), target))
  const sources = [...text.matchAll(/`((?:src|test|bench|examples|docs|migrations|schema)\/[\w./-]+)`/g)].map(
    ([, file = '']) => file,
  )
  expect([...links, ...sources].filter((target) => !existsSync(target))).toEqual([])
})

test('the files that the README tells to read are there, in the order of the steps', () => {
  const steps = [...readDocument('README.md').matchAll(/^(\d+)\. `([\w/.-]+\.ts)`/gm)]
  expect(steps.length).toBeGreaterThan(5)
  expect(steps.map(([, number]) => Number(number))).toEqual(steps.map((_, index) => index + 1))
  for (const [, , file = ''] of steps) expect(existsSync(join('src', file)), file).toBe(true)
})
