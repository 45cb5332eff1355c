import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { allowedConnections } from '../../src/connections/file-limit.ts'

test.each([
  ['20000', 50_000, 19_500, 1],
  ['20000', 19_500, 19_500, 0],
  ['20000', 100, 100, 0],
  ['600', 50_000, 300, 1],
  ['unlimited', 50_000, 50_000, 0],
])(
  'with a limit of %s open files, %i connections are %i, with %i warnings',
  async (files, wanted, allowed, warnings) => {
    const folder = await mkdtemp(join(tmpdir(), 'carillon-test-limits-'))
    const path = join(folder, 'limits')
    const head = 'Limit                     Soft Limit           Hard Limit           Units'
    await writeFile(
      path,
      `${head}\nMax processes             4096  4096  processes\nMax open files            ${files}   ${files}   files\n`,
    )
    const lines: string[] = []
    const logger = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) })
    expect(await allowedConnections(wanted, logger, path)).toBe(allowed)
    expect(lines).toHaveLength(warnings)
    await rm(folder, { recursive: true })
  },
)

test('where the system says nothing, all are allowed', async () => {
  expect(await allowedConnections(50_000, pino({ level: 'silent' }), '/nowhere/limits')).toBe(50_000)
})
