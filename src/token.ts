// Tokens that this server signs itself: for the command line and for what embedded mode prints at start. auth.ts checks
// them.
import { SignJWT } from 'jose'

const secondsPerUnit: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 }
/** A year and a day. What is valid for longer than its secret is never renewed, and never noticed when lost. */
export const tokenTtlSecondsMax = 366 * 86_400

/** Seconds of `30s`, `15m`, `1h` or `7d`; undefined where the text is none of these, is zero or is over the limit. */
export function parseTtl(text: string): number | undefined {
  const [, amount, unit = ''] = /^(\d{1,9})([smhd])$/.exec(text) ?? []
  const seconds = Number(amount) * (secondsPerUnit[unit] ?? Number.NaN)
  return seconds > 0 && seconds <= tokenTtlSecondsMax ? seconds : undefined
}

export interface TokenClaims {
  secret: string
  sub: string
  scopes?: readonly string[]
  ttlSeconds: number
}

/** A JWT signed with HS256. */
export function signToken({ secret, sub, scopes = [], ttlSeconds }: TokenClaims): Promise<string> {
  const now = Math.floor(Date.now() / 1000)
  return new SignJWT(scopes.length > 0 ? { scope: scopes.join(' ') } : {})
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setSubject(sub)
    .setIssuedAt(now)
    .setExpirationTime(now + ttlSeconds)
    .sign(new TextEncoder().encode(secret))
}
