// GraphQL over HTTP: what a request asks for and how its result is answered, which is Yoga's part (the GraphQL-over-HTTP
// specification); what is executed is operations.ts, the same as for the other transports.
import { useCSRFPrevention } from '@graphql-yoga/plugin-csrf-prevention'
import { type ExecutionResult, GraphQLError } from 'graphql'
import { createYoga, type GraphQLParams, type Plugin } from 'graphql-yoga'
import type { Context } from './context.ts'
import { formatError, restate, withCode } from './errors.ts'
import type { Operation } from './operation.ts'
import type { Operations } from './operations.ts'
import { onlyEvent } from './sse.ts'

/** One request: what it is answered in, and what its answer turned out to be. */
export interface Exchange {
  readonly context: Context
  /** Set where it is a subscription, which the caller then serves instead of the response. */
  subscription?: Operation
}

interface ServerContext {
  exchange: Exchange
}

export type Yoga = ReturnType<typeof createGraphqlHttp>

export function createGraphqlHttp(operations: Operations) {
  return createYoga<ServerContext>({
    graphqlEndpoint: '/graphql',
    plugins: [useCsrfPrevention(), useOperations(operations), useErrorFormat()],
    // `useErrorFormat` has the request id that these would need.
    maskedErrors: { maskError: asGraphqlError },
    logging: false,
    batching: false,
    multipart: false,
    graphiql: false,
    landingPage: false,
    // The caller does these, before anything is parsed.
    cors: false,
    maxRequestBodySize: false,
    // operations.ts has its own.
    parserAndValidationCache: false,
  })
}

/**
 * Pages of other sites can send a POST without asking only with the content types of forms, which are refused. A GET
 * changes nothing, so that it needs no header to prove what it is.
 */
function useCsrfPrevention(): Plugin<ServerContext, ServerContext> {
  const { onRequestParse } = useCSRFPrevention()
  return {
    onRequestParse: (payload) => (payload.request.method === 'GET' ? undefined : onRequestParse?.(payload)),
  }
}

/** In the place of Yoga's own parsing, validating and executing. */
function useOperations(operations: Operations): Plugin<ServerContext, ServerContext> {
  async function run(request: Request, params: GraphQLParams, exchange: Exchange): Promise<ExecutionResult> {
    const { query = '', operationName, variables } = params
    // Yoga looks at the types of the other parameters only.
    if (!['string', 'undefined'].includes(typeof (operationName ?? undefined))) {
      throw httpError(400, '`operationName` must be a string')
    }
    const operation = operations.prepare({ query, operationName, variables }, exchange.context)
    if (!('document' in operation)) return { errors: operation }
    if (operation.type === 'mutation' && request.method === 'GET') {
      throw httpError(405, 'a mutation needs a POST', { allow: 'POST' })
    }
    if (operation.type !== 'subscription') return operations.execute(operation)
    if (!acceptsEvents(request))
      throw httpError(406, 'a subscription needs `accept: text/event-stream`, or a WebSocket')
    exchange.subscription = operation
    return {}
  }

  return {
    onParams({ context: { exchange }, setParamsHandler }) {
      setParamsHandler(({ request, params }) => run(request, params, exchange))
    },
    onResultProcess({ request, setResultProcessor }) {
      if (!acceptsEvents(request)) return
      setResultProcessor((result, { Response }) => {
        const body = isSingle(result) ? onlyEvent(result) : ''
        return new Response(body, { headers: { 'content-type': 'text/event-stream; charset=utf-8' } })
      }, 'text/event-stream')
    },
  }
}

/** Gives errors from before execution their codes, and the status that they call for. */
function useErrorFormat(): Plugin<ServerContext, ServerContext> {
  return {
    onResultProcess({ request, result, setResult, serverContext }) {
      if (!isSingle(result) || !result.errors || 'data' in result) return
      const { requestId, logger } = serverContext.exchange.context
      const errors = result.errors.map((error) => {
        const http = httpOf(error)
        // Yoga has codes of its own for requests that are no GraphQL requests.
        const known = http ? withCode(error, http.status === 403 ? 'FORBIDDEN' : 'BAD_USER_INPUT') : error
        const formatted = formatError(known, requestId, logger)
        // An event stream has begun well, and its event says what is wrong.
        if (acceptsEvents(request)) return formatted
        return restate(formatted, formatted.message, { ...formatted.extensions, http: http ?? statusOf(formatted) })
      })
      setResult({ errors })
    },
  }
}

/** What a refusal of Yoga or of `httpError` asks for. Never 200: such a request is not well-formed whatever is accepted. */
function httpOf({ extensions: { http } }: GraphQLError): { status: number; headers?: object } | undefined {
  if (typeof http !== 'object' || http === null || !('status' in http) || typeof http.status !== 'number')
    return undefined
  const headers = 'headers' in http && http.headers
  return { status: http.status, ...(typeof headers === 'object' && headers !== null && { headers }) }
}

/** `spec`: not for clients that accept only `application/json`, which get such errors with 200. */
function statusOf({ extensions: { code } }: GraphQLError): { status: number; spec?: boolean } {
  if (code === 'INTERNAL_SERVER_ERROR') return { status: 500 }
  return code === 'UNAVAILABLE' ? { status: 503 } : { status: 400, spec: true }
}

/** What Yoga's own code failed with. */
function asGraphqlError(error: unknown): Error {
  if (error instanceof GraphQLError) return error
  if (error instanceof SyntaxError) return httpError(400, '`variables` and `extensions` must be JSON')
  return new GraphQLError('', { originalError: error instanceof Error ? error : new Error(String(error)) })
}

function acceptsEvents(request: Request): boolean {
  return request.headers.get('accept')?.includes('text/event-stream') === true
}

function isSingle(result: unknown): result is ExecutionResult {
  return typeof result === 'object' && result !== null && !Array.isArray(result) && !(Symbol.asyncIterator in result)
}

function httpError(status: number, message: string, headers: Record<string, string> = {}): GraphQLError {
  return new GraphQLError(message, { extensions: { code: 'BAD_USER_INPUT', http: { status, headers } } })
}
