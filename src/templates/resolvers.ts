// The slice's resolvers: who may, then the verb.
import { requireScope } from '../auth.ts'
import type { Resolvers } from '../graphql/generated.ts'
import type { FindNode } from '../graphql/node.ts'
import type { Templates } from './templates.ts'

const idPrefix = 'template:'

export function createTemplateResolvers(templates: Templates): Resolvers {
  return {
    Query: {
      template(_, { key }, { viewer }) {
        requireScope(viewer, 'templates:write')
        return templates.find(key)
      },
      templates(_, __, { viewer }) {
        requireScope(viewer, 'templates:write')
        return templates.list()
      },
    },
    Mutation: {
      upsertTemplate(_, { input }, { viewer }) {
        requireScope(viewer, 'templates:write')
        return templates.upsert(input)
      },
      deleteTemplate(_, { key }, { viewer }) {
        requireScope(viewer, 'templates:write')
        return templates.delete(key)
      },
    },
    Template: { id: ({ key }) => idPrefix + key },
  }
}

/** A template by `template:` and its key. */
export function createFindTemplate(templates: Pick<Templates, 'find'>): FindNode {
  return async (id, { scopes }) => {
    if (!id.startsWith(idPrefix) || !scopes.has('templates:write')) return null
    const template = await templates.find(id.slice(idPrefix.length))
    return template && { ...template, __typename: 'Template' as const }
  }
}
