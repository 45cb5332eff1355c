// Which pages may call. A browser says where a page came from; a client that says nothing is no browser.
import type { IncomingMessage } from 'node:http'

/** True without an `Origin`, for one of the allowed ones, and for the host that was asked itself. */
export function mayCall({ headers }: IncomingMessage, allowedOrigins: readonly string[]): boolean {
  const { origin, host } = headers
  if (origin === undefined || allowedOrigins.includes(origin)) return true
  // Behind a proxy that ends TLS the scheme is not known here, and the host is enough: an attacker's page has another.
  return URL.canParse(origin) && new URL(origin).host === host?.replace(/:(80|443)$/, '')
}

/** The headers that let a page of another origin read the answers; none for others. No cookies: tokens are explicit. */
export function corsHeaders({ headers }: IncomingMessage, allowedOrigins: readonly string[]): Record<string, string> {
  const { origin } = headers
  if (allowedOrigins.length === 0) return {}
  if (origin === undefined || !allowedOrigins.includes(origin)) return { vary: 'origin' }
  return {
    vary: 'origin',
    'access-control-allow-origin': origin,
    'access-control-expose-headers': 'x-request-id, retry-after',
  }
}

/** Seconds that browsers may remember the answer; the longest that Chromium does. */
const preflightSeconds = 7_200

/** Besides `corsHeaders`, for an allowed origin's OPTIONS. */
export const preflightHeaders = {
  'access-control-allow-methods': 'GET, POST',
  'access-control-allow-headers': 'authorization, content-type, last-event-id, x-request-id',
  'access-control-max-age': String(preflightSeconds),
}
