// What the documents hold that can be checked: fenced code blocks and the rows of tables.
import { readdirSync, readFileSync } from 'node:fs'

export interface Block {
  language: string
  /** From `title=` behind the language; empty without one. */
  title: string
  text: string
}

/** All that there are, by their paths from the project's root. */
export const pages = [
  'README.md',
  'CHANGELOG.md',
  ...readdirSync('docs')
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
]

/** A document's text, by its path from the project's root. */
export function readDocument(path: string): string {
  return readFileSync(path, 'utf8')
}

export function blocksOf(markdown: string): Block[] {
  return [...markdown.matchAll(/^```(\w*)(?: title=(\S+))?\n([\s\S]*?)^```$/gm)].map(
    ([, language = '', title = '', text = '']) => ({ language, title, text }),
  )
}

/** The rows of the table under a heading, each as its cells, without the header. Backticks are left out. */
export function tableUnder(markdown: string, heading: string): string[][] {
  const start = markdown.indexOf(`\n${heading}\n`)
  if (start === -1) throw new Error(`there is no heading ${heading}`)
  const section = markdown.slice(start + heading.length + 1).split(/^#+ /m)[0] ?? ''
  const rows = section.split('\n').filter((line) => line.startsWith('|'))
  return rows.slice(2).map((row) =>
    row
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim().replaceAll('`', '')),
  )
}
