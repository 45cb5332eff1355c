// The executable schema: the SDL of schema/*.graphql, the scalars, and the resolvers of all slices.
import { readdirSync, readFileSync } from 'node:fs'
import type { GraphQLSchema } from 'graphql'
import { createSchema as createExecutableSchema } from 'graphql-yoga'
import type { Context } from './context.ts'
import type { Resolvers } from './generated.ts'
import { dateTime, jsonObject } from './scalars.ts'

/** Beside `src` as well as beside `dist`. */
const folder = new URL('../../schema/', import.meta.url)

/** Fails where a resolver has no field, or an interface no way to tell its types apart. */
export function createSchema(resolvers: Resolvers): GraphQLSchema {
  const files = readdirSync(folder).filter((name) => name.endsWith('.graphql'))
  return createExecutableSchema<Context>({
    typeDefs: files.sort().map((name) => readFileSync(new URL(name, folder), 'utf8')),
    resolvers: { ...resolvers, DateTime: dateTime, JSONObject: jsonObject },
    resolverValidationOptions: { requireResolversToMatchSchema: 'error' },
  })
}
