// GET /metrics: what metrics.ts counts, as Prometheus text, for a token with the scope `admin`.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Registry } from 'prom-client'
import { type Auth, bearerToken, requireScope } from '../auth.ts'
import { CarillonError } from '../errors.ts'
import { type Refusal, refuse, retryAfterSeconds } from './respond.ts'

export interface MetricsRouteOptions {
  registry: Registry
  auth: Auth
}

export function createMetricsRoute({ registry, auth }: MetricsRouteOptions) {
  return async ({ method, headers }: IncomingMessage, response: ServerResponse): Promise<void> => {
    response.setHeader('cache-control', 'no-store')
    if (method !== 'GET' && method !== 'HEAD') return refuse(response, wrongMethod)
    const token = bearerToken(headers.authorization)
    try {
      requireScope(token === null ? null : await auth.verify(token), 'admin')
    } catch (error) {
      return refuse(response, refusalOf(error))
    }
    const text = await registry.metrics()
    response.writeHead(200, { 'content-type': registry.contentType, 'content-length': Buffer.byteLength(text) })
    response.end(method === 'HEAD' ? '' : text)
  }
}

const wrongMethod: Refusal = {
  status: 405,
  code: 'BAD_USER_INPUT',
  message: 'metrics are read with GET',
  headers: { allow: 'GET, HEAD' },
}

function refusalOf(error: unknown): Refusal {
  if (!(error instanceof CarillonError)) throw error
  const { code, message } = error
  if (code === 'UNAUTHENTICATED') return { status: 401, code, message, headers: { 'www-authenticate': 'Bearer' } }
  if (code === 'FORBIDDEN') return { status: 403, code, message }
  return { status: 503, code, message, headers: { 'retry-after': String(retryAfterSeconds) } }
}
