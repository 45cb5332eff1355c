// The plain way in: a POST of JSON with a document that is known here, asking for JSON. Sends come this way, and Yoga's
// request and response objects cost 70 of 270 µs (docs/BENCHMARKS.md). Only the framing is its own:
// who asks and how much is http-handler.ts, what is executed and how it fails is operations.ts, as for Yoga. Whatever is
// unusual in the least is left to Yoga, which answers the plain ones alike.
import type { IncomingMessage } from 'node:http'
import type { ExecutionResult } from 'graphql'
import type { Context } from './context.ts'
import type { OperationParams, Operations } from './operations.ts'

export interface PlainAnswer {
  contentType: string
  result: ExecutionResult
}

/** Undefined where this is for Yoga; nothing has been executed then. */
export type AnswerPlainPost = (
  request: IncomingMessage,
  body: string,
  context: Context,
) => Promise<PlainAnswer | undefined>

const contentTypes = new Set(['application/json', 'application/json; charset=utf-8', 'application/json;charset=utf-8'])
const json = 'application/json; charset=utf-8'
const graphqlJson = 'application/graphql-response+json; charset=utf-8'
/** What is answered to the `Accept` of curl, fetch and the GraphQL clients in use. */
const answers = new Map([
  [undefined, json],
  ['*/*', json],
  ['application/json', json],
  ['application/graphql-response+json', graphqlJson],
  ['application/graphql-response+json, application/json', graphqlJson],
  ['application/graphql-response+json,application/json;q=0.9', graphqlJson],
])

export function createAnswerPlainPost(operations: Operations): AnswerPlainPost {
  return async (request, body, context) => {
    const { method, url, headers } = request
    const contentType = answers.get(headers.accept)
    const isPlain = method === 'POST' && url === '/graphql' && contentTypes.has(headers['content-type'] ?? '')
    if (!isPlain || contentType === undefined) return undefined
    const params = readParams(body)
    if (!params || !operations.isKnown(params.query)) return undefined
    const operation = operations.prepare(params, context)
    if (!('document' in operation) || operation.type === 'subscription') return undefined
    const result = await operations.execute(operation)
    // Without data it was not executed at all, and the status tells that.
    return 'data' in result ? { contentType, result } : undefined
  }
}

function readParams(body: string): OperationParams | undefined {
  let params: unknown
  try {
    params = JSON.parse(body)
  } catch {
    return undefined
  }
  return isParams(params) ? params : undefined
}

function isParams(params: unknown): params is OperationParams {
  if (!isObject(params)) return false
  const { query, operationName = null, variables = null, ...others } = params
  return (
    typeof query === 'string' &&
    (operationName === null || typeof operationName === 'string') &&
    (variables === null || isObject(variables)) &&
    Object.keys(others).length === 0
  )
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
