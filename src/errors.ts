// The registry of error codes. Every failure that a caller can act on is a CarillonError with one of these codes, the
// same over HTTP, SSE and WebSocket; anything else is masked as INTERNAL_SERVER_ERROR (graphql/errors.ts). A retired
// code is never used again. docs/PROTOCOL.md lists them, and a test holds the two against each other.

/** What a code means to a caller. */
export const errorCodes = {
  UNAUTHENTICATED: 'no token, or one that does not hold',
  FORBIDDEN: 'the token lacks the scope',
  BAD_USER_INPUT: 'an argument or a variable does not fit',
  NOT_FOUND: 'there is no such object, or it is not yours',
  IDEMPOTENCY_CONFLICT: 'the idempotency key was used with another input',
  RATE_LIMITED: 'too many calls; try again after retryAfterMs',
  CURSOR_EXPIRED: 'the notification after the cursor is past the retention time',
  CURSOR_INVALID: "not a cursor of this user's log, or of a log that was restored since",
  TOO_LARGE: 'the request body is over its limit',
  UNAVAILABLE: 'try again later with the same idempotency key, since the outcome may be unknown',
  GRAPHQL_PARSE_FAILED: 'the document is not GraphQL',
  GRAPHQL_VALIDATION_FAILED: 'the document does not fit the schema, or is over a limit',
  INTERNAL_SERVER_ERROR: 'a defect of the server; the log has it under the request id',
} as const

export type ErrorCode = keyof typeof errorCodes

/** An expected failure: its message is for the caller and is shown as it stands. */
export class CarillonError extends Error {
  override readonly name = 'CarillonError'
  readonly code: ErrorCode
  /** More for `extensions`, such as `retryAfterMs`. */
  readonly details: Readonly<Record<string, string | number>>

  constructor(code: ErrorCode, message: string, details: Record<string, string | number> = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.details = details
  }
}

/** Short for the most common one. */
export function badUserInput(message: string): CarillonError {
  return new CarillonError('BAD_USER_INPUT', message)
}

/** What an error says on one line. A connection that is refused on each address of a host has no message of its own. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.message === '' && error instanceof AggregateError) return error.errors.map(messageOf).join('; ')
  return error.message || error.name
}
