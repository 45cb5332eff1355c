import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { categoryCharactersMax, type SendInput } from '../../src/notifications/validate.ts'
import { readPage } from '../support/log.ts'
import { createSlice, input, type Slice } from '../support/slice.ts'

let slice: Slice
beforeAll(async () => {
  slice = await createSlice()
})
afterAll(() => slice[Symbol.asyncDispose]())

const newUser = () => `user-${randomUUID()}`

describe('numbering', () => {
  test('16 concurrent senders to one user: seq is 1..n, and createdAt orders as seq does', async () => {
    const userId = newUser()
    const senders = Array.from({ length: 16 }, async () => {
      const sent = []
      for (let i = 0; i < 25; i++) sent.push((await slice.send('service', input({ userId }))).notification)
      return sent
    })
    const sent = (await Promise.all(senders)).flat().sort((a, b) => a.seq - b.seq)
    expect(sent.map(({ seq }) => seq)).toEqual(Array.from({ length: 400 }, (_, i) => i + 1))
    expect(sent.every(({ createdAt }, i) => i === 0 || createdAt >= (sent[i - 1]?.createdAt ?? 0))).toBe(true)
  })

  test('a batch to one user is numbered in its order, also beyond one statement', async () => {
    const userId = newUser()
    const results = await slice.sendMany(
      'service',
      Array.from({ length: 1_000 }, (_, i) => input({ userId, title: `${i}` })),
    )
    expect(results.map(({ payload }) => payload?.notification.seq)).toEqual(
      Array.from({ length: 1_000 }, (_, i) => i + 1),
    )
  })

  test('what is sent is what the log has', async () => {
    const userId = newUser()
    const sent = await slice.send(
      'service',
      input({
        userId,
        category: 'order.shipped',
        title: '👩‍👩‍👧‍👦 مرحبا',
        body: 'a\nb',
        data: { z: 1, a: { nested: [{}, [], null, 1.5, 'é'] }, '': true },
        url: '/orders/1?x=y#z',
        priority: 'CRITICAL',
        expiresAt: Date.now() + 60_000,
      }),
    )
    const page = await readPage(slice.log, userId, { after: null, undeliveredUpTo: null, checkNext: false })
    expect(page.notifications).toEqual([sent.notification])
    expect(JSON.parse(sent.notification.data ?? '')).toEqual({
      z: 1,
      a: { nested: [{}, [], null, 1.5, 'é'] },
      '': true,
    })
    expect(Object.keys(JSON.parse(sent.notification.data ?? ''))).toEqual(['z', 'a', ''])
    expect(page.inbox).toMatchObject({
      seq: 1,
      undelivered: 1,
      unseen: 1,
      unread: 1,
      createdAt: sent.notification.createdAt,
    })
  })
})

describe('idempotency', () => {
  test('100 concurrent sends with one key: one row, one of them not a duplicate', async () => {
    const userId = newUser()
    const idempotencyKey = randomUUID()
    const sent = await Promise.all(
      Array.from({ length: 100 }, () => slice.send('service', input({ userId, idempotencyKey }))),
    )
    expect(new Set(sent.map(({ notification }) => notification.id)).size).toBe(1)
    expect(sent.filter(({ duplicate }) => !duplicate)).toHaveLength(1)
    const page = await readPage(slice.log, userId, { after: null, undeliveredUpTo: null, checkNext: false })
    expect(page.inbox).toMatchObject({ seq: 1, undelivered: 1 })
    expect(page.notifications).toHaveLength(1)
  })

  test('a used key gives the first notification back, whatever the order of the keys in data', async () => {
    const idempotencyKey = randomUUID()
    const userId = newUser()
    const first = await slice.send('service', input({ userId, idempotencyKey, data: { a: 1, b: { c: 2, d: 3 } } }))
    const again = await slice.send('service', input({ userId, idempotencyKey, data: { b: { d: 3, c: 2 }, a: 1 } }))
    expect(again).toEqual({ notification: first.notification, duplicate: true })
  })

  test('a used key with another input is a conflict, also within one batch', async () => {
    const idempotencyKey = randomUUID()
    await slice.send('service', input({ idempotencyKey }))
    const changes: Partial<SendInput>[] = [
      { title: 'Other' },
      { userId: 'bob' },
      { priority: 'HIGH' },
      { data: {} },
      { body: '' },
      { expiresAt: Date.now() + 1_000_000 },
    ]
    for (const change of changes) {
      await expect(slice.send('service', input({ idempotencyKey, ...change }))).rejects.toMatchObject({
        code: 'IDEMPOTENCY_CONFLICT',
      })
    }
    const key = randomUUID()
    const results = await slice.sendMany('service', [
      input({ idempotencyKey: key }),
      input({ idempotencyKey: key, title: 'Other' }),
      input({ idempotencyKey: key }),
    ])
    expect(results.map(({ payload, error }) => payload?.duplicate ?? error?.code)).toEqual([
      false,
      'IDEMPOTENCY_CONFLICT',
      true,
    ])
  })

  test('keys are apart by sender and by operation', async () => {
    const userId = newUser()
    const idempotencyKey = randomUUID()
    const one = input({ userId, idempotencyKey })
    await slice.send('a', one)
    expect((await slice.send('b', one)).duplicate).toBe(false)
    expect((await slice.sendMany('a', [one]))[0]?.payload?.duplicate).toBe(false)
  })

  test('a key can be used anew after 24 hours', async () => {
    const idempotencyKey = randomUUID()
    const first = await slice.send('service', input({ idempotencyKey }))
    const age = (hours: number) =>
      sql`update idempotency_keys set at = now() - ${hours} * interval '1 hour' where key = ${idempotencyKey}`.execute(
        slice.database.kysely,
      )
    await age(23.9)
    expect((await slice.send('service', input({ idempotencyKey }))).duplicate).toBe(true)
    await age(24.1)
    const second = await slice.send('service', input({ idempotencyKey, title: 'Other' }))
    expect(second.duplicate).toBe(false)
    expect(second.notification.id).not.toBe(first.notification.id)
  })

  test('a repeated send is answered even after what it sent has expired', async () => {
    const idempotencyKey = randomUUID()
    const one = input({ idempotencyKey, expiresAt: Date.now() + 150 })
    const first = await slice.send('service', one)
    await expect.poll(() => Date.now()).toBeGreaterThan(one.expiresAt ?? 0)
    expect(await slice.send('service', one)).toEqual({ notification: first.notification, duplicate: true })
    await expect(slice.send('service', { ...one, idempotencyKey: randomUUID() })).rejects.toMatchObject({
      code: 'BAD_USER_INPUT',
    })
  })
})

describe('locks', () => {
  test('a user whose inbox is locked by somebody else stalls nobody, and gets theirs in order when it is free', async () => {
    const locked = newUser()
    await slice.send('service', input({ userId: locked }))
    let unlock = () => {}
    const released = new Promise<void>((resolve) => {
      unlock = resolve
    })
    let isLocked = () => {}
    const lockTaken = new Promise<void>((resolve) => {
      isLocked = resolve
    })
    const transaction = slice.database.kysely.transaction().execute(async (tx) => {
      await sql`select from inboxes where user_id = ${locked} for update`.execute(tx)
      isLocked()
      await released
    })
    await lockTaken
    const started = Date.now()
    const waiting = [1, 2, 3].map((n) => slice.send('service', input({ userId: locked, title: `${n}` })))
    const others = Array.from({ length: 50 }, () => slice.send('service', input({ userId: newUser() })))
    await Promise.all(others)
    expect(Date.now() - started).toBeLessThan(1_500)
    unlock()
    await transaction
    const sent = await Promise.all(waiting)
    expect(sent.map(({ notification }) => [notification.title, notification.seq])).toEqual([
      ['1', 2],
      ['2', 3],
      ['3', 4],
    ])
  })

  test('an inbox that stays locked is UNAVAILABLE within some seconds', { timeout: 15_000 }, async () => {
    const locked = newUser()
    await slice.send('service', input({ userId: locked }))
    let unlock = () => {}
    const released = new Promise<void>((resolve) => {
      unlock = resolve
    })
    const transaction = slice.database.kysely.transaction().execute(async (tx) => {
      await sql`set local idle_in_transaction_session_timeout = 0`.execute(tx)
      await sql`select from inboxes where user_id = ${locked} for update`.execute(tx)
      await released
    })
    await expect.poll(() => slice.append.findUnlocked([locked])).toEqual([])
    await expect(slice.send('service', input({ userId: locked }))).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    unlock()
    await transaction
    expect((await slice.send('service', input({ userId: locked }))).notification.seq).toBe(2)
  })

  test('overlapping batches in opposite orders never deadlock', async () => {
    const users = Array.from({ length: 40 }, newUser)
    const batches = Array.from({ length: 12 }, (_, i) => (i % 2 ? users : users.toReversed()))
    const other = await createSlice()
    try {
      const results = await Promise.all(
        batches.map((some) =>
          slice.sendMany(
            'service',
            some.map((userId) => input({ userId })),
          ),
        ),
      )
      expect(results.flat().filter(({ error }) => error)).toEqual([])
    } finally {
      await other[Symbol.asyncDispose]()
    }
  })
})

describe('validation', () => {
  const cases: [string, Partial<SendInput>][] = [
    ['an empty title', { title: '' }],
    ['a title of 201', { title: 'x'.repeat(201) }],
    ['a title of 201 code points beyond the basic plane', { title: '😀'.repeat(201) }],
    ['NUL in the title', { title: 'a\0b' }],
    ['a lone surrogate in the title', { title: 'a\ud800' }],
    ['a body of 4001', { body: 'x'.repeat(4_001) }],
    ['a lone surrogate in the body', { body: '\udc00x' }],
    ['an empty userId', { userId: '' }],
    ['a userId of 201', { userId: 'x'.repeat(201) }],
    ['NUL in the userId', { userId: '\0' }],
    ['an empty category', { category: '' }],
    ['an upper-case category', { category: 'Order' }],
    ['a long category', { category: 'a'.repeat(categoryCharactersMax + 1) }],
    ['a category with a newline behind', { category: 'order\n' }],
    ['data over 16 KiB', { data: { x: 'x'.repeat(16 * 1024) } }],
    ['data over 16 KiB in UTF-8', { data: { x: 'é'.repeat(8 * 1024) } }],
    ['NUL in data', { data: { x: 'a\0' } }],
    ['NUL in a key of data', { data: { '\0': 1 } }],
    ['a lone surrogate in data', { data: { x: ['\ud83d'] } }],
    ['a lone surrogate behind a backslash in data', { data: { x: '\\\ud83d' } }],
    ['a javascript: url', { url: 'javascript:alert(1)' }],
    ['a javascript: url with a tab', { url: 'java\tscript:alert(1)' }],
    ['a javascript: url behind a space', { url: ' javascript:alert(1)' }],
    ['a data: url', { url: 'data:text/html,x' }],
    ['another host by //', { url: '//evil.example' }],
    ['another host by /\\', { url: '/\\evil.example' }],
    ['a relative url', { url: 'orders/1' }],
    ['an http url without a host', { url: 'http://' }],
    ['an empty url', { url: '' }],
    ['a url of 2049', { url: `/${'x'.repeat(2_048)}` }],
    ['an expiry in the past', { expiresAt: Date.now() - 1 }],
    ['an empty idempotency key', { idempotencyKey: '' }],
    ['an idempotency key of 256', { idempotencyKey: 'x'.repeat(256) }],
  ]
  test.each(cases)('refuses %s', async (_, fields) => {
    await expect(slice.send('service', input(fields))).rejects.toMatchObject({ code: 'BAD_USER_INPUT' })
  })

  const accepted: [string, Partial<SendInput>][] = [
    ['a title of 200 code points beyond the basic plane', { title: '😀'.repeat(200) }],
    ['an empty body', { body: '' }],
    ['a body of 4000', { body: 'é'.repeat(4_000) }],
    ['an escaped NUL that is none', { data: { x: '\\u0000 \\ud800' } }],
    ['data nested 900 deep', { data: JSON.parse(`${'{"a":'.repeat(900)}1${'}'.repeat(900)}`) }],
    ['a key named __proto__', { data: JSON.parse('{"__proto__": {"x": 1}}') }],
    ['a root path', { url: '/' }],
    ['an https url', { url: 'https://example.com/é?x=1' }],
  ]
  test.each(accepted)('accepts %s', async (_, fields) => {
    const { notification } = await slice.send('service', input({ userId: newUser(), ...fields }))
    if (fields.data) expect(JSON.parse(notification.data ?? '')).toEqual(fields.data)
    expect(notification.title).toBe(fields.title ?? 'Hello')
  })

  test('one bad item fails alone, in its place', async () => {
    const results = await slice.sendMany('service', [input(), input({ title: '' }), input()])
    expect(results.map(({ error }) => error?.code)).toEqual([undefined, 'BAD_USER_INPUT', undefined])
  })

  test('a batch of 1001 is refused whole', async () => {
    const inputs = Array.from({ length: 1_001 }, () => input())
    await expect(slice.sendMany('service', inputs)).rejects.toMatchObject({ code: 'BAD_USER_INPUT' })
  })
})
