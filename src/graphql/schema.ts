// The executable schema: the SDL of schema/*.graphql, the scalars, and the resolvers of all slices.
import { readdirSync, readFileSync } from 'node:fs'
import type { GraphQLSchema } from 'graphql'
import { createSchema as createExecutableSchema } from 'graphql-yoga'
import type { Context } from './context.ts'
import type { Resolvers } from './generated.ts'
import { attributeValue, dateTime, jsonObject } from './scalars.ts'

/** Beside `src` as well as beside `dist`. */
const folder = new URL('../../schema/', import.meta.url)

/** Of each slice its resolvers. Fails where one has no field, or an interface no way to tell its types apart. */
export function createSchema(...slices: Resolvers[]): GraphQLSchema {
  const files = readdirSync(folder).filter((name) => name.endsWith('.graphql'))
  return createExecutableSchema<Context>({
    typeDefs: files.sort().map((name) => readFileSync(new URL(name, folder), 'utf8')),
    resolvers: [...slices, { DateTime: dateTime, JSONObject: jsonObject, AttributeValue: attributeValue }],
    resolverValidationOptions: { requireResolversToMatchSchema: 'error' },
  })
}
