// The public keys behind CARILLON_JWKS_URL: fetched when first needed, kept, and fetched again so that keys come and go
// without a restart. auth.ts checks tokens with them.
import { createRemoteJWKSet, customFetch, errors, type FetchImplementation, type JWTVerifyGetKey } from 'jose'
import { CarillonError } from './errors.ts'
import type { Logger } from './logger.ts'

/** A sign-in waits no longer for the keys. */
export const keySetTimeoutMs = 5000
/** How old the keys may get: one taken out of the set counts for no longer, plus what auth.ts remembers. */
export const keySetRefreshMs = 5 * 60_000
/** While the address doesn't answer, the last keys stay in use for so long: its outage is not one of deliveries. */
export const keySetOutageMsMax = 60 * 60_000
/** A token with an unknown key makes the set be fetched again, but however many come, no more often. */
export const keySetCooldownMs = 5000
/** Nor is an address that fails asked more often. */
export const keySetRetryMs = 1000

/** Finds the key of a token. UNAVAILABLE where that can't be known, since the keys can't be fetched. */
export function createKeySet(url: string, logger?: Logger): JWTVerifyGetKey {
  const keys = createRemoteJWKSet(new URL(url), {
    timeoutDuration: keySetTimeoutMs,
    cooldownDuration: keySetCooldownMs,
    cacheMaxAge: keySetOutageMsMax,
    [customFetch]: createFetch(),
  })
  let refreshAt = 0
  return async (header, token) => {
    if (Date.now() >= refreshAt || !keys.fresh) {
      refreshAt = Date.now() + keySetRefreshMs
      if (keys.fresh) {
        await keys.reload().catch((error: unknown) => {
          logger?.warn({ err: error, url }, 'the key set could not be fetched; the last one stays in use for a time')
        })
      }
    }
    try {
      return await keys(header, token)
    } catch (error) {
      // These are about the token; what else can fail is the address or the set.
      if (
        error instanceof errors.JWKSNoMatchingKey ||
        error instanceof errors.JWKSMultipleMatchingKeys ||
        error instanceof errors.JOSENotSupported
      ) {
        throw error
      }
      throw new CarillonError('UNAVAILABLE', 'the keys that tokens are checked with are out of reach', {}, error)
    }
  }
}

function createFetch(): FetchImplementation {
  let failure: unknown
  let retryAt = 0
  return async (url, options) => {
    if (Date.now() < retryAt) throw failure
    try {
      const response = await fetch(url, options)
      if (response.status !== 200) throw new Error(`the key set answered with status ${response.status}`)
      return response
    } catch (error) {
      failure = error
      retryAt = Date.now() + keySetRetryMs
      throw error
    }
  }
}
