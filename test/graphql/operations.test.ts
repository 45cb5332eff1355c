import { GraphQLError, type ValidationRule } from 'graphql'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import type { Context } from '../../src/graphql/context.ts'
import { createOperations, type OperationsOptions } from '../../src/graphql/operations.ts'
import { createSchema } from '../../src/graphql/schema.ts'

const context: Context = {
  viewer: null,
  requestId: 'r',
  logger: pino({ level: 'silent' }),
  transport: 'http',
  resumeAfter: null,
}

function prepare(query: string, options: Partial<OperationsOptions> = {}, times = 1) {
  const operations = createOperations({ schema: createSchema({}), introspection: true, ...options })
  return Array.from({ length: times }, () => operations.prepare({ query }, context)).at(-1)
}

test('validates a document once, however often it comes', () => {
  let validated = 0
  const counting: ValidationRule = () => {
    validated += 1
    return {}
  }
  expect(prepare('{ __typename }', { rules: [counting] }, 5)).toMatchObject({ type: 'query' })
  expect(validated).toBe(1)
})

test('does not remember documents that are long or not valid', () => {
  let validated = 0
  const counting: ValidationRule = () => {
    validated += 1
    return {}
  }
  prepare(`{ __typename } # ${'x'.repeat(20_000)}`, { rules: [counting] }, 2)
  prepare('{ nothing }', { rules: [counting] }, 2)
  expect(validated).toBe(4)
})

test('forgets the documents that were not asked for longest', () => {
  let validated = 0
  const counting: ValidationRule = () => {
    validated += 1
    return {}
  }
  const operations = createOperations({ schema: createSchema({}), introspection: true, rules: [counting] })
  const ask = (n: number) => operations.prepare({ query: `{ a${n}: __typename }` }, context)
  for (let n = 0; n < 1_000; n++) ask(n)
  ask(0)
  ask(1_000)
  validated = 0
  ask(0)
  expect(validated).toBe(0)
  ask(1)
  expect(validated).toBe(1)
})

test.each([
  ['reports', (report: (error: GraphQLError) => void) => report(new GraphQLError('too deep'))],
  [
    'throws',
    () => {
      throw new GraphQLError('too deep')
    },
  ],
])('a limit on documents that %s is GRAPHQL_VALIDATION_FAILED', (_, fail) => {
  const rule: ValidationRule = (validation) => ({ Document: () => fail((error) => validation.reportError(error)) })
  expect(prepare('{ __typename }', { rules: [rule] })).toMatchObject([
    { message: 'too deep', extensions: { code: 'GRAPHQL_VALIDATION_FAILED' } },
  ])
})

test('so is a document with too many tokens', () => {
  expect(prepare('{ a: __typename b: __typename }', { tokensMax: 5 })).toMatchObject([
    { extensions: { code: 'GRAPHQL_VALIDATION_FAILED' } },
  ])
  expect(prepare('{ __typename }', { tokensMax: 5 })).toMatchObject({ type: 'query' })
})

test('a rule that fails unexpectedly is masked', () => {
  const broken: ValidationRule = () => {
    throw new Error('secret')
  }
  expect(prepare('{ __typename }', { rules: [broken] })).toMatchObject([
    { message: 'Internal server error', extensions: { code: 'INTERNAL_SERVER_ERROR', requestId: 'r' } },
  ])
})
