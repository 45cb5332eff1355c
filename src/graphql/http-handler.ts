// Requests to /graphql: who asks, from where and how much, before anything looks at what (plain-post.ts, and yoga.ts for
// all that is not plain); and whether the answer is a page, a result or a stream of events (sse.ts).
import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type Auth, bearerToken, type Viewer } from '../auth.ts'
import { readBody } from '../connections/body.ts'
import { corsHeaders, preflightHeaders } from '../connections/origin.ts'
import { notFound, type Refusal, refuse, retryAfterSeconds } from '../connections/respond.ts'
import { CarillonError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { formatError } from './errors.ts'
import { createGraphiql } from './graphiql.ts'
import type { Operations } from './operations.ts'
import { createAnswerPlainPost } from './plain-post.ts'
import type { ServeEvents } from './sse.ts'
import { createGraphqlHttp, type Exchange } from './yoga.ts'

export interface GraphqlHandlerOptions {
  operations: Operations
  serveEvents: ServeEvents
  auth: Auth
  logger: Logger
  allowedOrigins: readonly string[]
  graphiql: boolean
  maxBodyBytes: number
}

/** One that a caller chose is kept where it can do no harm in a log. */
const requestIdPattern = /^[\w.:-]{1,64}$/

export function createGraphqlHandler(options: GraphqlHandlerOptions) {
  const { operations, serveEvents, auth, logger, allowedOrigins, maxBodyBytes } = options
  const yoga = createGraphqlHttp(operations)
  const answerPlainPost = createAnswerPlainPost(operations)
  const graphiql = createGraphiql()

  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const requestId = requestIdOf(request)
    response.setHeader('x-request-id', requestId)
    response.setHeader('cache-control', 'no-store')
    for (const [name, value] of Object.entries(corsHeaders(request, allowedOrigins))) response.setHeader(name, value)
    logWhenDone(request, response, requestId, logger)
    if (request.method === 'OPTIONS') return preflight(response)
    if (options.graphiql && isPageRequest(request)) return graphiql.send(request, response)
    // A page with `?query=` in its address is a client's request where there is no GraphiQL.
    if (isPageRequest(request) && request.url === '/graphql') return refuse(response, notFound)

    const viewer = await authenticate(request, auth).catch((error: unknown) => refusalOf(error, requestId, logger))
    if (viewer && 'status' in viewer) return refuse(response, viewer)
    const body = await readBody(request, maxBodyBytes)
    if (body === null) return refuse(response, tooLarge(maxBodyBytes))

    const isStream = request.headers.accept?.includes('text/event-stream') === true
    const exchange: Exchange = {
      context: {
        viewer,
        requestId,
        logger,
        transport: isStream ? 'sse' : 'http',
        resumeAfter: headerOf(request, 'last-event-id'),
      },
    }
    const plain = await answerPlainPost(request, body, exchange.context)
    if (plain) return sendText(response, 200, { 'content-type': plain.contentType }, JSON.stringify(plain.result))
    const answer = await yoga.handleRequest(
      new yoga.fetchAPI.Request(`http://localhost${request.url}`, {
        method: request.method ?? 'GET',
        headers: fetchHeaders(request),
        ...(body.length > 0 && { body }),
      }),
      { exchange },
    )
    if (exchange.subscription) return serveEvents(response, exchange.subscription)
    await send(answer, response)
  }
}

/** True where a browser asks for the page rather than a client for an answer. */
function isPageRequest({ method, headers }: IncomingMessage): boolean {
  return (method === 'GET' || method === 'HEAD') && headers.accept?.includes('text/html') === true
}

/** Null without a token. Fails as `Auth.verify` does. */
async function authenticate({ headers }: IncomingMessage, auth: Auth): Promise<Viewer | null> {
  const token = bearerToken(headers.authorization)
  return token === null ? null : auth.verify(token)
}

function refusalOf(error: unknown, requestId: string, logger: Logger): Refusal {
  const { message, extensions } = formatError(error, requestId, logger)
  const isRefused = error instanceof CarillonError && error.code === 'UNAUTHENTICATED'
  if (isRefused) return { status: 401, code: error.code, message, headers: { 'www-authenticate': 'Bearer' } }
  if (extensions.code !== 'UNAVAILABLE')
    return { status: 500, code: 'INTERNAL_SERVER_ERROR', message, details: { requestId } }
  return { status: 503, code: 'UNAVAILABLE', message, headers: { 'retry-after': String(retryAfterSeconds) } }
}

function tooLarge(bytes: number): Refusal {
  return { status: 413, code: 'TOO_LARGE', message: `a request body has ${bytes} bytes at most` }
}

/** Without the headers that allow an origin (see `corsHeaders`) a browser takes this for a no. */
function preflight(response: ServerResponse): void {
  response.writeHead(204, preflightHeaders).end()
}

async function send(answer: Response, response: ServerResponse): Promise<void> {
  const { status, headers } = answer
  const text = await answer.text()
  if (text === '')
    return refuse(response, { status, code: 'BAD_USER_INPUT', message: emptyAnswers[status] ?? 'bad request' })
  sendText(response, status, Object.fromEntries(headers), text)
}

function sendText(response: ServerResponse, status: number, headers: Record<string, string>, text: string): void {
  response.writeHead(status, { 'content-length': Buffer.byteLength(text), ...headers })
  response.end(text)
}

/** What Yoga answers without a body. */
const emptyAnswers: Record<number, string> = {
  406: 'application/json, application/graphql-response+json or text/event-stream must be acceptable',
  415: 'a POST needs `content-type: application/json`',
}

function requestIdOf(request: IncomingMessage): string {
  const chosen = headerOf(request, 'x-request-id')
  return chosen !== null && requestIdPattern.test(chosen) ? chosen : randomUUID()
}

function headerOf({ headers }: IncomingMessage, name: string): string | null {
  const value = headers[name]
  return typeof value === 'string' && value !== '' ? value : null
}

function fetchHeaders({ headers }: IncomingMessage): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))
}

function logWhenDone(request: IncomingMessage, response: ServerResponse, requestId: string, logger: Logger): void {
  if (!logger.isLevelEnabled('debug')) return
  const start = performance.now()
  response.once('close', () => {
    const ms = Math.round(performance.now() - start)
    logger.debug({ requestId, method: request.method, status: response.statusCode, ms }, 'a request was answered')
  })
}
