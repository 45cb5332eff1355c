import { createHmac, randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import { type CryptoKey, exportJWK, exportSPKI, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  type Auth,
  bearerToken,
  createAuth,
  inboxOwner,
  requireScope,
  requireViewer,
  type Viewer,
  verifiedTokenMs,
  verifiedTokensMax,
} from '../src/auth.ts'
import type { CarillonError } from '../src/errors.ts'
import { keySetCooldownMs, keySetOutageMsMax, keySetRefreshMs, keySetRetryMs } from '../src/key-set.ts'
import { parseTtl, signToken } from '../src/token.ts'

const secret = randomBytes(32).toString('base64url')
const now = Math.floor(Date.now() / 1000)
const issuer = 'https://sign-in.example.com'
const audience = 'carillon'

// The clock alone stands still: timers and sockets are real.
beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'], now: now * 1000 }))
afterEach(() => void vi.useRealTimers())

function sign(claims: JWTPayload, header: Record<string, unknown> = {}, key: string | CryptoKey = secret) {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256', ...header })
    .sign(typeof key === 'string' ? new TextEncoder().encode(key) : key)
}

/** For what no library signs. */
function signRaw(header: string, payload: string, key = secret): string {
  const text = `${Buffer.from(header).toString('base64url')}.${Buffer.from(payload).toString('base64url')}`
  return `${text}.${createHmac('sha256', key).update(text).digest('base64url')}`
}

const claims = { sub: 'alice', exp: now + 60 }

function refusal(message: string) {
  return expect.objectContaining({ name: 'CarillonError', code: 'UNAUTHENTICATED', message })
}

describe('with a secret', () => {
  let auth: Auth
  beforeEach(() => {
    auth = createAuth({ secret })
  })

  test('tells who a token is for, what it may do and until when', async () => {
    const viewer = await auth.verify(await sign({ ...claims, scope: 'openid  inbox:any notifications:send' }))
    expect(viewer).toEqual({
      sub: 'alice',
      scopes: new Set(['inbox:any', 'notifications:send']),
      expiresAt: (now + 60) * 1000,
    })
    expect((await auth.verify(await sign(claims))).scopes.size).toBe(0)
  })

  test('accepts what signToken signs, for as long as it says', async () => {
    const viewer = await auth.verify(await signToken({ secret, sub: 'svc', scopes: ['admin'], ttlSeconds: 90 }))
    expect(viewer).toEqual({ sub: 'svc', scopes: new Set(['admin']), expiresAt: (now + 90) * 1000 })
  })

  test.each<[string, JWTPayload, string]>([
    ['no exp', { sub: 'alice' }, '`exp` of the token does not hold'],
    ['no sub', { exp: now + 60 }, '`sub` of the token does not hold'],
    ['an empty sub', { ...claims, sub: '' }, '`sub` of the token does not hold'],
    ['a sub over 200 code points', { ...claims, sub: '🔔'.repeat(201) }, '`sub` of the token does not hold'],
    ['a sub with a NUL', { ...claims, sub: 'al\0ice' }, '`sub` of the token does not hold'],
    ['a sub with a lone surrogate', { ...claims, sub: 'alice\ud83d' }, '`sub` of the token does not hold'],
    ['a list of scopes', { ...claims, scope: ['admin'] }, '`scope` of the token is not a text'],
    ['a null scope', { ...claims, scope: null }, '`scope` of the token is not a text'],
  ])('refuses a token with %s', async (_, payload, message) => {
    await expect(auth.verify(await sign(payload))).rejects.toEqual(refusal(message))
  })

  test.each([
    ['a sub that is a number', '{"sub":7,"exp":99999999999}', '`sub` of the token does not hold'],
    ['an exp that is a text', '{"sub":"alice","exp":"99999999999"}', '`exp` of the token does not hold'],
    ['an endless exp', '{"sub":"alice","exp":1e999}', '`exp` of the token does not hold'],
    ['an iat that is a text', '{"sub":"alice","exp":99999999999,"iat":"1"}', '`iat` of the token does not hold'],
    ['no claims', '[]', 'the token is malformed'],
  ])('refuses a token with %s', async (_, payload, message) => {
    await expect(auth.verify(signRaw('{"alg":"HS256"}', payload))).rejects.toEqual(refusal(message))
  })

  test('accepts a sub of 200 code points', async () => {
    const sub = '🔔'.repeat(200)
    expect((await auth.verify(await sign({ ...claims, sub }))).sub).toBe(sub)
  })

  test('ends a token at its exp, to the millisecond, whether it is remembered or not', async () => {
    const token = await sign(claims)
    vi.setSystemTime((now + 60) * 1000 - 1)
    await auth.verify(token)
    vi.setSystemTime((now + 60) * 1000)
    await expect(auth.verify(token)).rejects.toEqual(refusal('the token has expired'))
    await expect(createAuth({ secret }).verify(token)).rejects.toEqual(refusal('the token has expired'))
    vi.setSystemTime((now + 100) * 1000)
    await expect(auth.verify(token)).rejects.toEqual(refusal('the token has expired'))
  })

  test.each(['nbf', 'iat'])('allows 30 seconds of skew for %s, and no more', async (claim) => {
    await auth.verify(await sign({ ...claims, [claim]: now + 30 }))
    await expect(auth.verify(await sign({ ...claims, [claim]: now + 31 }))).rejects.toEqual(
      refusal(`\`${claim}\` of the token does not hold`),
    )
  })

  test.each(['HS384', 'HS512'])('refuses %s', async (alg) => {
    const key = 'x'.repeat(64)
    await expect(createAuth({ secret: key }).verify(await sign(claims, { alg }, key))).rejects.toEqual(
      refusal('the token is signed in a way that is not accepted'),
    )
  })

  test.each(['none', 'None', 'NONE'])('refuses a token without a signature: %s', async (alg) => {
    const [header, payload] = signRaw(JSON.stringify({ alg }), JSON.stringify(claims)).split('.')
    for (const signature of ['', 'AAAA']) {
      await expect(auth.verify(`${header}.${payload}.${signature}`)).rejects.toEqual(
        refusal('the token is signed in a way that is not accepted'),
      )
    }
  })

  test('refuses asymmetric signatures', async () => {
    const { privateKey } = await generateKeyPair('ES256')
    await expect(auth.verify(await sign(claims, { alg: 'ES256' }, privateKey))).rejects.toEqual(
      refusal('the token is signed in a way that is not accepted'),
    )
  })

  test('refuses another secret and changed claims', async () => {
    const token = await sign(claims)
    const [header, , signature] = token.split('.')
    const payload = Buffer.from(JSON.stringify({ ...claims, sub: 'mallory' })).toString('base64url')
    for (const bad of [
      await sign(claims, {}, 'another secret of thirty-two bytes'),
      `${header}.${payload}.${signature}`,
    ]) {
      await expect(auth.verify(bad)).rejects.toEqual(refusal('the signature of the token does not hold'))
    }
  })

  test('refuses every extension that a token demands', async () => {
    await expect(
      auth.verify(signRaw('{"alg":"HS256","crit":["b64"],"b64":true}', JSON.stringify(claims))),
    ).rejects.toEqual(refusal('the token demands an extension'))
    for (const header of ['{"alg":"HS256","crit":["b64"],"b64":false}', '{"alg":"HS256","crit":["mine"],"mine":1}']) {
      await expect(auth.verify(signRaw(header, JSON.stringify(claims)))).rejects.toMatchObject({
        code: 'UNAUTHENTICATED',
      })
    }
  })

  test('refuses a token over 16 KiB, however well signed', async () => {
    await auth.verify(await sign({ ...claims, more: 'x'.repeat(12_000) }))
    await expect(auth.verify(await sign({ ...claims, more: 'x'.repeat(13_000) }))).rejects.toEqual(
      refusal('the token is too long'),
    )
  })

  test.each(['', 'x', 'a.b.c', '..', 'Basic YTpi'])('refuses %s', async (text) => {
    await expect(auth.verify(text)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
  })

  test('repeats nothing of a token in what it answers', async () => {
    const marked = { alg: 'HS256', kid: 'hunter2', crit: ['hunter2'], hunter2: 1 }
    const tokens = [
      signRaw(JSON.stringify(marked), JSON.stringify(claims)),
      await sign({ ...claims, sub: 'hunter2', exp: now - 60 }),
      await sign({ ...claims, sub: 'hunter2\0' }),
      signRaw('{"alg":"hunter2"}', '{}'),
      'hunter2.hunter2.hunter2',
    ]
    for (const token of tokens) {
      const error: CarillonError = await auth.verify(token).then(
        () => expect.unreachable(),
        (error) => error,
      )
      expect(`${error.message} ${JSON.stringify(error.details)} ${String(error.cause)}`).not.toMatch(/hunter2/)
    }
  })

  test('never fetches a key that a token names', async () => {
    await using server = await startKeySet([])
    const header = { jku: server.url, x5u: server.url, jwk: { kty: 'oct', k: 'AAAA' } }
    expect((await auth.verify(await sign(claims, header))).sub).toBe('alice')
    await expect(auth.verify(await sign(claims, header, 'another secret of thirty-two bytes'))).rejects.toThrow()
    expect(server.requests).toBe(0)
  })
})

describe('verified tokens', () => {
  test('are remembered for a minute, and verified again then', async () => {
    const auth = createAuth({ secret })
    const token = await sign({ ...claims, exp: now + 3600 })
    const viewer = await auth.verify(token)
    vi.setSystemTime(now * 1000 + verifiedTokenMs - 1)
    expect(await auth.verify(token)).toBe(viewer)
    vi.setSystemTime(now * 1000 + verifiedTokenMs)
    const again = await auth.verify(token)
    expect(again).not.toBe(viewer)
    expect(again).toEqual(viewer)
  })

  test('are forgotten, the oldest first, beyond a bound', async () => {
    const auth = createAuth({ secret })
    const [oldest, second] = [await sign({ ...claims, sub: 'oldest' }), await sign({ ...claims, sub: 'second' })]
    const [first, kept] = [await auth.verify(oldest), await auth.verify(second)]
    // Signed by hand: a library takes ten times as long.
    for (let i = 0; i < verifiedTokensMax - 1; i++) {
      await auth.verify(signRaw('{"alg":"HS256"}', JSON.stringify({ ...claims, sub: `user-${i}` })))
    }
    expect(await auth.verify(second)).toBe(kept)
    expect(await auth.verify(oldest)).not.toBe(first)
  })

  test('cost a fraction of a verification with a public key', async () => {
    const key = await createKey('one', 'ES256')
    await using server = await startKeySet([key.jwk])
    const [auth, fresh] = [1, 2].map(() => createAuth({ jwksUrl: server.url, issuer, audience }))
    const signed = { ...claims, iss: issuer, aud: audience }
    const token = await key.sign(signed)
    const measure = async (rounds: number, verify: (i: number) => Promise<unknown> | undefined) => {
      const start = performance.now()
      for (let i = 0; i < rounds; i++) await verify(i)
      return (performance.now() - start) / rounds
    }
    const tokens = await Promise.all(Array.from({ length: 300 }, (_, i) => key.sign({ ...signed, sub: `user-${i}` })))
    await Promise.all([auth?.verify(token), fresh?.verify(token)])
    const verifying = await measure(300, (i) => fresh?.verify(tokens[i] ?? ''))
    const remembered = await measure(3000, () => auth?.verify(token))
    expect(remembered).toBeLessThan(verifying / 4)
  })
})

describe('with a key set', () => {
  const signed = { ...claims, exp: now + 86_400, iss: issuer, aud: audience }

  test.each([
    ['RS256', 'RS256'],
    ['ES256', 'ES256'],
    ['EdDSA', 'EdDSA'],
    ['EdDSA', 'Ed25519'],
  ])('accepts %s keys and tokens that say %s', async (kind, alg) => {
    const key = await createKey('one', kind)
    await using server = await startKeySet([key.jwk])
    const auth = createAuth({ jwksUrl: server.url, issuer, audience })
    expect((await auth.verify(await key.sign(signed, { alg }))).sub).toBe('alice')
  })

  test.each(['RS512', 'PS256', 'ES384'])('refuses %s', async (alg) => {
    const key = await createKey('one', alg)
    await using server = await startKeySet([key.jwk])
    const auth = createAuth({ jwksUrl: server.url, issuer, audience })
    await expect(auth.verify(await key.sign(signed))).rejects.toEqual(
      refusal('the token is signed in a way that is not accepted'),
    )
  })

  test('refuses a public key used as a secret', async () => {
    const key = await createKey('one', 'RS256')
    await using server = await startKeySet([key.jwk])
    const auth = createAuth({ jwksUrl: server.url, issuer, audience })
    for (const forged of [key.pem, JSON.stringify(key.jwk), String(key.jwk.n)]) {
      const token = signRaw('{"alg":"HS256","kid":"one"}', JSON.stringify(signed), forged)
      await expect(auth.verify(token)).rejects.toEqual(refusal('the token is signed in a way that is not accepted'))
    }
    expect(server.requests).toBe(0)
  })

  test.each<[string, JWTPayload]>([
    ['iss', { ...signed, iss: 'https://other.example.com' }],
    ['aud', { ...signed, aud: 'other' }],
    ['iss', { ...claims, aud: audience }],
    ['aud', { ...claims, iss: issuer }],
  ])('refuses another %s, or none', async (claim, payload) => {
    const key = await createKey('one', 'ES256')
    await using server = await startKeySet([key.jwk])
    const auth = createAuth({ jwksUrl: server.url, issuer, audience })
    await expect(auth.verify(await key.sign(payload))).rejects.toEqual(
      refusal(`\`${claim}\` of the token does not hold`),
    )
  })

  test('fetches the keys once for many tokens', async () => {
    const key = await createKey('one', 'ES256')
    await using server = await startKeySet([key.jwk])
    const auth = createAuth({ jwksUrl: server.url, issuer, audience })
    const tokens = await Promise.all(Array.from({ length: 20 }, (_, i) => key.sign({ ...signed, sub: `user-${i}` })))
    await Promise.all(tokens.map((token) => auth.verify(token)))
    expect(server.requests).toBe(1)
  })

  test('accepts a new key without a restart, and asks for unknown ones no more often than named', async () => {
    const [old, next, stranger] = await Promise.all(['old', 'next', 'stranger'].map((kid) => createKey(kid, 'ES256')))
    if (!old || !next || !stranger) return expect.unreachable()
    await using server = await startKeySet([old.jwk])
    const auth = createAuth({ jwksUrl: server.url, issuer, audience })
    await auth.verify(await old.sign(signed))
    server.keys = [old.jwk, next.jwk]
    vi.setSystemTime(now * 1000 + keySetCooldownMs)
    await auth.verify(await next.sign(signed))
    expect(server.requests).toBe(2)
    for (let i = 0; i < 5; i++) {
      await expect(auth.verify(await stranger.sign(signed))).rejects.toEqual(
        refusal('the token is signed with an unknown key'),
      )
    }
    expect(server.requests).toBe(2)
  })

  test('refuses a key soon after it was taken out', async () => {
    const [old, next] = await Promise.all(['old', 'next'].map((kid) => createKey(kid, 'ES256')))
    if (!old || !next) return expect.unreachable()
    await using server = await startKeySet([old.jwk])
    const auth = createAuth({ jwksUrl: server.url, issuer, audience })
    const token = await old.sign(signed)
    await auth.verify(token)
    server.keys = [next.jwk]
    vi.setSystemTime(now * 1000 + keySetRefreshMs)
    await expect(auth.verify(token)).rejects.toEqual(refusal('the token is signed with an unknown key'))
  })

  test('outlives an outage of the key set with the keys that it has, for an hour', async () => {
    const key = await createKey('one', 'ES256')
    await using server = await startKeySet([key.jwk])
    const auth = createAuth({ jwksUrl: server.url, issuer, audience })
    const token = await key.sign(signed)
    await auth.verify(token)
    server.status = 503
    vi.setSystemTime(now * 1000 + keySetRefreshMs)
    expect((await auth.verify(token)).sub).toBe('alice')
    expect(server.requests).toBe(2)
    vi.setSystemTime(now * 1000 + keySetOutageMsMax)
    await expect(auth.verify(token)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    server.status = 200
    vi.setSystemTime(now * 1000 + keySetOutageMsMax + keySetRetryMs)
    expect((await auth.verify(token)).sub).toBe('alice')
  })

  test.each([
    ['answers with a failure', (server: KeySetServer) => Object.assign(server, { status: 500 })],
    ['answers with another document', (server: KeySetServer) => Object.assign(server, { body: '{"keys":7}' })],
    ['answers with no document', (server: KeySetServer) => Object.assign(server, { body: '<html>' })],
    ['is gone', (server: KeySetServer) => server[Symbol.asyncDispose]()],
  ])('never blames a token while the key set %s', async (_, breakIt) => {
    const key = await createKey('one', 'ES256')
    await using server = await startKeySet([key.jwk])
    const auth = createAuth({ jwksUrl: server.url, issuer, audience })
    await breakIt(server)
    await expect(auth.verify(await key.sign(signed))).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: 'the keys that tokens are checked with are out of reach',
    })
    await expect(auth.verify('malformed')).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
  })

  test('asks a key set that fails once a second at most', async () => {
    const key = await createKey('one', 'ES256')
    await using server = await startKeySet([key.jwk])
    server.status = 500
    const auth = createAuth({ jwksUrl: server.url, issuer, audience })
    const token = await key.sign(signed)
    for (let i = 0; i < 5; i++) await expect(auth.verify(token)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(server.requests).toBe(1)
    server.status = 200
    vi.setSystemTime(now * 1000 + keySetRetryMs)
    expect((await auth.verify(token)).sub).toBe('alice')
  })

  test('refuses a token that could be signed with several keys', async () => {
    const keys = await Promise.all(['one', 'two'].map((kid) => createKey(kid, 'ES256')))
    await using server = await startKeySet(keys.map(({ jwk }) => jwk))
    const auth = createAuth({ jwksUrl: server.url, issuer, audience })
    await expect(auth.verify((await keys[0]?.sign(signed, { kid: undefined })) ?? '')).rejects.toEqual(
      refusal('the token does not say which key it is signed with'),
    )
  })
})

test.each<[string | null | undefined, string | null]>([
  ['Bearer abc.def.ghi', 'abc.def.ghi'],
  ['bearer abc', 'abc'],
  ['BEARER   abc ', 'abc'],
  ['abc', 'abc'],
  ['bearerabc', 'bearerabc'],
  ['Basic YTpi', 'Basic YTpi'],
  ['Bearer', null],
  ['Bearer ', null],
  ['', null],
  [null, null],
  [undefined, null],
])('finds in the header %o the token %o', (header, token) => {
  expect(bearerToken(header)).toBe(token)
})

describe('who may do what', () => {
  const alice: Viewer = { sub: 'alice', scopes: new Set(), expiresAt: 0 }
  const service: Viewer = { sub: 'svc', scopes: new Set(['inbox:any']), expiresAt: 0 }

  test('a viewer is needed', () => {
    expect(requireViewer(alice)).toBe(alice)
    for (const rule of [requireViewer, (viewer: null) => requireScope(viewer, 'admin'), inboxOwner]) {
      expect(() => rule(null, undefined)).toThrow(expect.objectContaining({ code: 'UNAUTHENTICATED' }))
    }
  })

  test('a missing scope is named', () => {
    expect(requireScope(service, 'inbox:any')).toBe(service)
    expect(() => requireScope(service, 'notifications:send')).toThrow(
      expect.objectContaining({ code: 'FORBIDDEN', message: 'the token needs the scope notifications:send' }),
    )
  })

  test("an inbox is one's own, or another's with inbox:any", () => {
    expect(inboxOwner(alice, undefined)).toBe('alice')
    expect(inboxOwner(alice, null)).toBe('alice')
    expect(inboxOwner(alice, 'alice')).toBe('alice')
    expect(inboxOwner(service, 'alice')).toBe('alice')
    expect(inboxOwner(service, null)).toBe('svc')
    expect(() => inboxOwner(alice, 'bob')).toThrow(expect.objectContaining({ code: 'FORBIDDEN' }))
    expect(() => inboxOwner(alice, '')).toThrow(expect.objectContaining({ code: 'FORBIDDEN' }))
  })
})

test.each([
  ['30s', 30],
  ['15m', 900],
  ['1h', 3600],
  ['7d', 604_800],
  ['366d', 31_622_400],
  ['367d', undefined],
  ['0s', undefined],
  ['1', undefined],
  ['1.5h', undefined],
  ['-1h', undefined],
  ['1w', undefined],
  ['1h30m', undefined],
  ['', undefined],
  ['999999999999d', undefined],
])('reads a time to live of %o as %o seconds', (text, seconds) => {
  expect(parseTtl(text)).toBe(seconds)
})

async function createKey(kid: string, alg: string) {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
  return {
    jwk: { ...(await exportJWK(publicKey)), kid, use: 'sig' },
    pem: await exportSPKI(publicKey),
    sign: (payload: JWTPayload, header = {}) => sign(payload, { alg, kid, ...header }, privateKey),
  }
}

interface KeySetServer extends AsyncDisposable {
  url: string
  requests: number
  status: number
  keys: JWK[]
  /** Instead of the keys. */
  body: string | undefined
}

async function startKeySet(keys: JWK[]): Promise<KeySetServer> {
  const http = createServer((_, response) => {
    server.requests++
    response.writeHead(server.status, { connection: 'close' }).end(server.body ?? JSON.stringify({ keys: server.keys }))
  })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  const address = http.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const server: KeySetServer = {
    url: `http://127.0.0.1:${address.port}/keys`,
    requests: 0,
    status: 200,
    keys,
    body: undefined,
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => http.close(resolve))
    },
  }
  return server
}
