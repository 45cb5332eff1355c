// Who is asking: a signed token in, a viewer out. Verifies JWTs with a shared secret or with public keys (key-set.ts),
// and holds the rules on who may do what. No message here repeats any of a token.
import { hash, timingSafeEqual } from 'node:crypto'
import {
  decodeJwt,
  decodeProtectedHeader,
  errors,
  type JWTPayload,
  type JWTVerifyOptions,
  jwtVerify,
  type ProtectedHeaderParameters,
} from 'jose'
import { CarillonError } from './errors.ts'
import { createHmacSha256 } from './hmac.ts'
import { createKeySet } from './key-set.ts'
import type { Logger } from './logger.ts'
import { isUserId } from './text.ts'

export const scopes = [
  'notifications:send',
  'inbox:any',
  'users:read',
  'users:write',
  'templates:write',
  'broadcasts:read',
  'broadcasts:write',
  'admin',
] as const

/** What a token may do besides its own inbox. */
export type Scope = (typeof scopes)[number]

export interface Viewer {
  /** The token's `sub`: a user, or a service. */
  sub: string
  /** Those of the token that mean something here. */
  scopes: ReadonlySet<string>
  /** Milliseconds since 1970. Exact: nothing is answered or delivered from then on. */
  expiresAt: number
}

export interface Auth {
  /**
   * Fails with UNAUTHENTICATED where the token does not hold, and with UNAVAILABLE where that can't be told at the
   * moment. The text is the bare JWT.
   */
  verify(token: string): Promise<Viewer>
}

/** HS256 with a secret of 32 bytes at least; RS256, ES256 and EdDSA with a key set. */
export type AuthKeys = { secret: string } | { jwksUrl: string; issuer: string; audience: string }

/** Seconds that clocks may differ, for `nbf` and `iat` alone. */
export const clockSkewSecondsMax = 30
/** Node takes no more than this in all headers together; over WebSocket it bounds the work on a stranger's text. */
export const tokenLengthMax = 16 * 1024
/** Tokens that are remembered as verified, the oldest forgotten first: a few MiB at most. */
export const verifiedTokensMax = 10_000
/** How long they are. A key that is withdrawn stops counting so much later. */
export const verifiedTokenMs = 60_000

/**
 * Verifying takes 10 µs of CPU with a secret and 100 with a public key, finding a remembered token 1: a service sends one
 * token 1,000 times a second.
 */
export function createAuth(keys: AuthKeys, logger?: Logger): Auth {
  const verifyJwt = createVerify(keys, logger)
  const verified = new Map<string, { viewer: Viewer; forgetAt: number }>()
  return {
    async verify(token) {
      if (token.length > tokenLengthMax) throw unauthenticated('the token is too long')
      const digest = hash('sha256', token, 'base64')
      const known = verified.get(digest)
      if (known && Date.now() < known.forgetAt) return known.viewer
      verified.delete(digest)
      const viewer = await verifyJwt(token).then(readViewer, (error: unknown) => {
        throw error instanceof errors.JOSEError ? unauthenticated(reasonOf(error)) : error
      })
      const [oldest] = verified.size < verifiedTokensMax ? [] : verified.keys()
      if (oldest !== undefined) verified.delete(oldest)
      verified.set(digest, { viewer, forgetAt: Math.min(Date.now() + verifiedTokenMs, viewer.expiresAt) })
      return viewer
    },
  }
}

/**
 * The algorithms belong to the kind of key, never to what a token says, so that a public key can't be used as a secret.
 * Keys that a header names or carries (`jku`, `x5u`, `jwk`) are never looked at.
 */
function createVerify(keys: AuthKeys, logger?: Logger): (token: string) => Promise<Verified> {
  if ('secret' in keys) return createVerifyHs256(keys.secret)
  const { jwksUrl, issuer, audience } = keys
  const keySet = createKeySet(jwksUrl, logger)
  // EdDSA's newer name is the name of its one curve in use.
  const algorithms = ['RS256', 'ES256', 'EdDSA', 'Ed25519']
  const options: JWTVerifyOptions = { clockTolerance: clockSkewSecondsMax, algorithms, issuer, audience }
  return (token) => jwtVerify(token, keySet, options)
}

interface Verified {
  payload: JWTPayload
  protectedHeader: ProtectedHeaderParameters
}

const noPayload = Buffer.alloc(0)

/** jose would compute the HMAC in another thread: 50 to 120 µs more, which is what half of a connection costs. */
function createVerifyHs256(secret: string): (token: string) => Promise<Verified> {
  const sign = createHmacSha256(Buffer.from(secret))
  return async (token) => {
    const protectedHeader = decodeToken(() => decodeProtectedHeader(token))
    if (protectedHeader.alg !== 'HS256') throw unauthenticated('the token is signed in a way that is not accepted')
    const signatureStart = token.lastIndexOf('.') + 1
    const expected = Buffer.from(sign(noPayload, token.slice(0, signatureStart - 1)).toString('base64url'))
    const signature = Buffer.from(token.slice(signatureStart))
    if (signature.length !== expected.length || !timingSafeEqual(signature, expected)) {
      throw unauthenticated('the signature of the token does not hold')
    }
    return { protectedHeader, payload: decodeToken(() => decodeJwt(token)) }
  }
}

/** What jose says of a text that is no JWT quotes it. */
function decodeToken<T>(decode: () => T): T {
  try {
    return decode()
  } catch {
    throw unauthenticated('the token is malformed')
  }
}

function readViewer({ payload, protectedHeader }: Verified): Viewer {
  const { sub, exp, iat, nbf, scope = '' } = payload
  const now = Date.now()
  // No extension is understood here; jose knows one that must not change anything in a JWT.
  if (protectedHeader.crit !== undefined) throw unauthenticated('the token demands an extension')
  if (typeof exp !== 'number' || !Number.isFinite(exp * 1000)) throw unauthenticated('`exp` of the token does not hold')
  // jose allows its skew here too.
  if (now >= exp * 1000) throw unauthenticated('the token has expired')
  for (const [name, at] of [
    ['nbf', nbf],
    ['iat', iat],
  ] as const) {
    if (at !== undefined && !(typeof at === 'number' && at <= Math.floor(now / 1000) + clockSkewSecondsMax)) {
      throw unauthenticated(`\`${name}\` of the token does not hold`)
    }
  }
  if (!isUserId(sub)) throw unauthenticated('`sub` of the token does not hold')
  if (typeof scope !== 'string') throw unauthenticated('`scope` of the token is not a text')
  const granted = scope.split(' ')
  return { sub, scopes: new Set(scopes.filter((name) => granted.includes(name))), expiresAt: exp * 1000 }
}

/** jose's own messages quote what a token says. */
function reasonOf(error: errors.JOSEError): string {
  if (error instanceof errors.JWTExpired) return 'the token has expired'
  if (error instanceof errors.JWTClaimValidationFailed) return `\`${error.claim}\` of the token does not hold`
  if (error instanceof errors.JOSEAlgNotAllowed) return 'the token is signed in a way that is not accepted'
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'the signature of the token does not hold'
  if (error instanceof errors.JWKSNoMatchingKey) return 'the token is signed with an unknown key'
  if (error instanceof errors.JWKSMultipleMatchingKeys) return 'the token does not say which key it is signed with'
  return 'the token is malformed'
}

function unauthenticated(message: string): CarillonError {
  return new CarillonError('UNAUTHENTICATED', message)
}

/**
 * The token of an `Authorization` header or of `connectionParams.authorization`, with or without `Bearer ` before it;
 * null without one.
 */
export function bearerToken(header: string | null | undefined): string | null {
  const token = (header ?? '').trim().replace(/^bearer(\s+|$)/i, '')
  return token === '' ? null : token
}

/** Fails with UNAUTHENTICATED without a viewer. */
export function requireViewer(viewer: Viewer | null): Viewer {
  if (viewer === null) throw unauthenticated('a token is needed')
  return viewer
}

/** Fails with UNAUTHENTICATED without a viewer, and with FORBIDDEN where the token lacks the scope. */
export function requireScope(viewer: Viewer | null, scope: Scope): Viewer {
  const someone = requireViewer(viewer)
  if (!someone.scopes.has(scope)) throw new CarillonError('FORBIDDEN', `the token needs the scope ${scope}`)
  return someone
}

/**
 * Whose inbox is meant: the viewer's own, or that of `userId`. Another's needs the scope `inbox:any`, or it is
 * FORBIDDEN whether that user exists or not.
 */
export function inboxOwner(viewer: Viewer | null, userId: string | null | undefined): string {
  const { sub } = requireViewer(viewer)
  if (userId === null || userId === undefined || userId === sub) return sub
  requireScope(viewer, 'inbox:any')
  return userId
}
