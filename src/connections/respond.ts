// Answers that are not a GraphQL result: JSON all the same, with the code that the error has on every transport.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { ErrorCode } from '../errors.ts'

/** For when the server is full or going away: long enough for others to leave, or for a balancer to notice. */
export const retryAfterSeconds = 5

export interface Refusal {
  status: number
  code: ErrorCode
  message: string
  details?: Record<string, string | number>
  headers?: Record<string, string>
}

export const full: Refusal = {
  status: 503,
  code: 'UNAVAILABLE',
  message: 'the server takes no more connections at the moment',
  headers: { 'retry-after': String(retryAfterSeconds) },
}

export const originRefused: Refusal = { status: 403, code: 'FORBIDDEN', message: 'this origin is not allowed' }
export const notFound: Refusal = { status: 404, code: 'NOT_FOUND', message: 'there is nothing at this path' }

export function sendJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
) {
  const text = JSON.stringify(body)
  response.writeHead(status, {
    ...headers,
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(text),
  })
  response.end(response.req.method === 'HEAD' ? '' : text)
}

export function refuse(response: ServerResponse, refusal: Refusal): void {
  sendJson(response, refusal.status, bodyOf(refusal), refusal.headers)
}

/** Answers an upgrade that is refused; its socket is closed. */
export function refuseUpgrade(socket: Duplex, refusal: Refusal): void {
  const text = JSON.stringify(bodyOf(refusal))
  const headers = {
    ...refusal.headers,
    connection: 'close',
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(text),
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
  socket.end(`HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status]}\r\n${lines.join('\r\n')}\r\n\r\n${text}`)
}

export function pathOf({ url = '/' }: IncomingMessage): string {
  const end = url.indexOf('?')
  return end === -1 ? url : url.slice(0, end)
}

function bodyOf({ message, code, details }: Refusal) {
  return { errors: [{ message, extensions: { ...details, code } }] }
}
