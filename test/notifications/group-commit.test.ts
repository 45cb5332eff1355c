import { Client } from 'pg'
import { expect, test } from 'vitest'
import { createAppend } from '../../src/notifications/append.ts'
import { blockedMsMax, createGroupCommit } from '../../src/notifications/group-commit.ts'
import { createTestDatabase } from '../support/database.ts'

test('a send that something other than its inbox blocks is UNAVAILABLE in time', { timeout: 30_000 }, async () => {
  await using t = await createTestDatabase()
  const { commit } = createGroupCommit({ append: createAppend(t.database), onCommit: () => Promise.resolve() })
  const holder = new Client({ connectionString: t.url })
  await holder.connect()
  await holder.query('begin; lock table notifications in access exclusive mode')
  const start = performance.now()
  const sent = commit({
    id: '00000000-0000-7000-8000-000000000001',
    userId: 'u',
    category: 'c',
    title: 't',
    body: null,
    data: null,
    url: null,
    priority: 'NORMAL',
    expiresAt: null,
    idempotency: null,
  })
    .then(
      () => 'committed',
      (error: Error) => error.message,
    )
    .then((outcome) => ({ outcome, ms: performance.now() - start }))
  const release = setTimeout(() => void holder.query('rollback'), 12_000)
  const { outcome, ms } = await sent
  clearTimeout(release)
  await holder.query('rollback')
  await holder.end()
  expect(outcome).toMatch(/lock/)
  expect(ms).toBeLessThan(blockedMsMax + 2_000)
})
