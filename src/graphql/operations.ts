// From the text of a document to its outcome, the same for every transport: parse, validate (both remembered), execute,
// format the errors. Next: subscribe-operation.ts for subscriptions.
import {
  type DocumentNode,
  type ExecutionResult,
  execute,
  GraphQLError,
  type GraphQLSchema,
  getOperationAST,
  NoSchemaIntrospectionCustomRule,
  parse,
  specifiedRules,
  type ValidationRule,
  validate,
} from 'graphql'
import { CarillonError } from '../errors.ts'
import type { Context } from './context.ts'
import { formatError, withCode } from './errors.ts'
import type { Operation } from './operation.ts'
import { createFindRender } from './render.ts'
import { type EventResults, type ResultStream, subscribeToSource } from './subscribe-operation.ts'

/** Validating costs about 260 µs. Applications send a few dozen documents; the rest is for those who inline values. */
const documentsMax = 1_000
/** Longer ones are not remembered, so that the cache stays below some tens of MiB. */
const rememberedCharactersMax = 10_000

export interface OperationsOptions {
  schema: GraphQLSchema
  /** False refuses `__schema` and `__type`. */
  introspection: boolean
  /** More rules on documents: depth, cost and the like. They see the document alone, never variables. */
  rules?: readonly ValidationRule[]
  /** Of one document. Default: no limit but the message's. */
  tokensMax?: number
}

export interface OperationParams {
  query: string
  operationName?: string | null | undefined
  variables?: Record<string, unknown> | null | undefined
}

export interface Operations {
  /** Whether this document is remembered as valid. */
  isKnown(query: string): boolean
  /** The operation, or why there is none. Errors are formatted. */
  prepare(params: OperationParams, context: Context): Operation | readonly GraphQLError[]
  /** Runs a query or a mutation. Never rejects; errors are formatted. */
  execute(operation: Operation): Promise<ExecutionResult>
  /** Starts a subscription. Rejects where it can't begin: `mayPass` tells whether a client should try again. */
  subscribe(operation: Operation): Promise<ResultStream>
}

export function createOperations({ schema, introspection, rules = [], tokensMax }: OperationsOptions): Operations {
  const allRules = [...specifiedRules, ...(introspection ? [] : [NoSchemaIntrospectionCustomRule]), ...rules]
  const parseOptions = tokensMax === undefined ? {} : { maxTokens: tokensMax }
  const valid = new Map<string, DocumentNode>()
  const findRender = createFindRender()

  /** Only valid documents are remembered: a stranger's invalid ones would push them out. */
  function documentOf(query: string): DocumentNode | readonly GraphQLError[] {
    const known = valid.get(query)
    if (known) {
      valid.delete(query)
      valid.set(query, known)
      return known
    }
    const document = parseDocument(query)
    if (document instanceof GraphQLError) return [document]
    const errors = validateDocument(document)
    if (errors.length > 0) return errors
    if (query.length <= rememberedCharactersMax) {
      const [oldest] = valid.size < documentsMax ? [] : valid.keys()
      if (oldest !== undefined) valid.delete(oldest)
      valid.set(query, document)
    }
    return document
  }

  function parseDocument(query: string): DocumentNode | GraphQLError {
    try {
      return parse(query, parseOptions)
    } catch (error) {
      if (error instanceof RangeError) return tooDeep()
      if (!(error instanceof GraphQLError)) throw error
      const overLimit = /Document contains more tha[nt] \d+ tokens/.test(error.message)
      return withCode(error, overLimit ? 'GRAPHQL_VALIDATION_FAILED' : 'GRAPHQL_PARSE_FAILED')
    }
  }

  function validateDocument(document: DocumentNode): readonly GraphQLError[] {
    try {
      return validate(schema, document, allRules).map(validationError)
    } catch (error) {
      if (error instanceof RangeError) return [tooDeep()]
      // A rule that is about a limit may throw rather than report.
      if (!(error instanceof GraphQLError)) throw error
      return [validationError(error)]
    }
  }

  function validationError(error: GraphQLError): GraphQLError {
    // Suggestions are a way to read the schema without introspection.
    const message = introspection ? error.message : error.message.replace(/ ?Did you mean .*$/s, '')
    return withCode(error, 'GRAPHQL_VALIDATION_FAILED', message)
  }

  const executeEvent = (operation: Operation, rootValue: unknown) => execute({ ...operation, rootValue })

  const eventResults: EventResults = {
    async execute(operation, event) {
      return formatResult(await executeEvent(operation, event), operation.contextValue)
    },
    findRender,
    toJson(operation, render, event) {
      const { contextValue } = operation
      try {
        return render(event, contextValue)
      } catch {
        // Executed below, so that the client is told which of its fields failed.
      }
      const result = executeEvent(operation, event)
      if (result instanceof Promise) throw new TypeError('a field that needs only its parent was not there at once')
      return JSON.stringify(formatResult(result, contextValue))
    },
  }

  return {
    isKnown: (query) => valid.has(query),
    prepare({ query, operationName, variables }, contextValue) {
      const { requestId, logger } = contextValue
      try {
        const document = documentOf(query)
        if (!('kind' in document)) return document.map((error) => formatError(error, requestId, logger))
        const node = getOperationAST(document, operationName)
        if (!node)
          throw new CarillonError('BAD_USER_INPUT', 'the document has no such operation, or several to choose from')
        return {
          schema,
          document,
          contextValue,
          type: node.operation,
          variableValues: variables ?? {},
          operationName: node.name?.value ?? null,
        }
      } catch (error) {
        return [formatError(error, requestId, logger)]
      }
    },
    async execute(operation) {
      const { requestId, logger } = operation.contextValue
      try {
        return formatResult(await execute(operation), operation.contextValue)
      } catch (error) {
        return { errors: [formatError(error, requestId, logger)] }
      }
    },
    subscribe: (operation) => subscribeToSource(operation, eventResults),
  }
}

/** graphql-js walks documents recursively, and a small one can be nested deeper than the stack. */
function tooDeep(): GraphQLError {
  return new GraphQLError('the document is nested too deeply', { extensions: { code: 'GRAPHQL_VALIDATION_FAILED' } })
}

function formatResult(result: ExecutionResult, { requestId, logger }: Context): ExecutionResult {
  if (!result.errors) return result
  return { ...result, errors: result.errors.map((error) => formatError(error, requestId, logger)) }
}
