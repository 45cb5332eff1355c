import { expect, test } from 'vitest'
import { newId } from '../../src/new-id.mjs'
import { isUuid } from '../../src/notifications/uuid.ts'

test('ids are UUIDs of version 7 with the time, and no two are alike', () => {
  const before = Date.now()
  const ids = Array.from({ length: 2_000 }, newId)
  expect(new Set(ids).size).toBe(ids.length)
  // What is random in them: not the time, the version and the variant.
  expect(new Set(ids.map((id) => id.slice(15, 18) + id.slice(20))).size).toBe(ids.length)
  for (const id of ids) {
    expect(isUuid(id)).toBe(true)
    expect(id[14]).toBe('7')
    const ms = Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)
    expect(ms).toBeGreaterThanOrEqual(before)
    expect(ms).toBeLessThanOrEqual(Date.now())
  }
})
