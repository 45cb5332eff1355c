import { expect, test } from 'vitest'
import { migrate } from '../src/migrate.ts'
import { createTestDatabase } from './support/database.ts'

test('a second migration changes nothing', async () => {
  await using test = await createTestDatabase()
  expect(await migrate(test.database)).toEqual([])
})
