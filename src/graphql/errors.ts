// What a caller is told of a failure, the same over HTTP, SSE and WebSocket: a code of errors.ts and a message where the
// failure was expected, and otherwise nothing but a request id, under which the log has the rest.
import { GraphQLError } from 'graphql'
import { CarillonError, type ErrorCode, errorCodes, messageOf } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { isTransient } from '../postgres.ts'

/** Errors that went through here: whoever gets one again passes it on. */
const formatted = new WeakSet<GraphQLError>()

/** Never contains SQL, a path of a file, or a stack. A masked failure is logged once, here. */
export function formatError(error: unknown, requestId: string, logger: Logger): GraphQLError {
  if (error instanceof GraphQLError && formatted.has(error)) return error
  const { message, extensions } = describe(error, requestId, logger)
  const result =
    error instanceof GraphQLError ? restate(error, message, extensions) : new GraphQLError(message, { extensions })
  formatted.add(result)
  return result
}

/** An error of graphql-js under one of our codes. */
export function withCode(error: GraphQLError, code: ErrorCode, message = error.message): GraphQLError {
  return restate(error, message, { code })
}

/** The same place in the document and in the response, without the error that was behind it. */
export function restate(error: GraphQLError, message: string, extensions: Record<string, unknown>): GraphQLError {
  const { nodes = null, source, positions, path } = error
  return new GraphQLError(message, { nodes, source, positions, path, extensions })
}

/** True where the same request may succeed later: such a failure must not end a subscription for good. */
export function mayPass(error: unknown): boolean {
  const cause = causeOf(error)
  if (cause instanceof CarillonError) return cause.code === 'UNAVAILABLE' || cause.code === 'RATE_LIMITED'
  return !(cause instanceof GraphQLError)
}

function describe(error: unknown, requestId: string, logger: Logger) {
  const cause = causeOf(error)
  if (cause instanceof CarillonError) {
    // One line each, without a stack: while the database is away there are as many as there are requests.
    if (cause.cause !== undefined) logger.warn({ reason: messageOf(cause.cause), requestId }, cause.message)
    return { message: cause.message, extensions: { ...cause.details, code: cause.code } }
  }
  if (cause instanceof GraphQLError) {
    const code = codeOf(cause, error)
    if (code) return { message: cause.message, extensions: { code } }
  }
  // Of variables: graphql-js walks through them recursively before it executes anything.
  if (cause instanceof RangeError && !(error instanceof GraphQLError && error.path)) {
    return { message: 'the variables are nested too deeply', extensions: { code: 'BAD_USER_INPUT' } }
  }
  if (isTransient(cause)) {
    logger.warn({ reason: messageOf(cause), requestId }, 'an operation failed because of what may pass')
    return { message: 'try again later', extensions: { code: 'UNAVAILABLE' } }
  }
  logger.error({ err: cause, requestId }, 'an operation failed unexpectedly')
  return { message: 'Internal server error', extensions: { code: 'INTERNAL_SERVER_ERROR', requestId } }
}

/** graphql-js wraps what a resolver throws. */
function causeOf(error: unknown): unknown {
  let cause = error
  while (cause instanceof GraphQLError && cause.originalError) cause = cause.originalError
  return cause
}

/** The code of an error that graphql-js itself made; none where it tells of a defect of the server. */
function codeOf(cause: GraphQLError, error: unknown): ErrorCode | undefined {
  const { code } = cause.extensions
  if (typeof code === 'string' && isErrorCode(code)) return code
  const executed = error instanceof GraphQLError && error.path !== undefined
  // Before execution it is a variable that doesn't fit. During it, an argument's literal that doesn't; what else
  // graphql-js complains of then is an output that its resolver made.
  return !executed || cause.message.startsWith('Argument "') ? 'BAD_USER_INPUT' : undefined
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorCodes, code)
}
