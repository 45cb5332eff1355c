// The slice's resolvers: who may, then the verb.
import { requireScope } from '../auth.ts'
import type { Resolvers } from '../graphql/generated.ts'
import type { Directory } from './directory.ts'

export function createUserResolvers(directory: Directory): Resolvers {
  return {
    Query: {
      user(_, { id }, { viewer }) {
        requireScope(viewer, 'users:read')
        return directory.find(id)
      },
      users(_, { segment, ...page }, { viewer }) {
        requireScope(viewer, 'users:read')
        return directory.page(segment ?? null, page)
      },
      previewSegment(_, { segment }, { viewer }) {
        requireScope(viewer, 'broadcasts:write')
        return directory.preview(segment)
      },
    },
    Mutation: {
      upsertUsers(_, { users }, { viewer }) {
        requireScope(viewer, 'users:write')
        return directory.upsert(users)
      },
      deleteUsers(_, { ids }, { viewer }) {
        requireScope(viewer, 'users:write')
        return directory.delete(ids)
      },
    },
  }
}
