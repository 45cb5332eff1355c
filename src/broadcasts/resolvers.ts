// The slice's resolvers: who may, then the verb. One broadcast's way: create.ts, engine.ts, claim.ts, worker.ts,
// choose-users.ts, append-batch.ts, end.ts.
import { requireScope } from '../auth.ts'
import { CarillonError } from '../errors.ts'
import type { Resolvers } from '../graphql/generated.ts'
import type { FindNode } from '../graphql/node.ts'
import type { Database } from '../postgres.ts'
import type { Broadcast } from './broadcast.ts'
import type { CreateBroadcast } from './create.ts'
import { stopBroadcast } from './end.ts'
import type { Progress } from './progress.ts'
import { findBroadcast, pageBroadcasts } from './read.ts'

export interface BroadcastVerbs {
  database: Database
  create: CreateBroadcast
  progress: Progress
}

export function createBroadcastResolvers({ database, create, progress }: BroadcastVerbs): Resolvers {
  return {
    Query: {
      broadcast(_, { id }, { viewer }) {
        requireScope(viewer, 'broadcasts:read')
        return findBroadcast(database, id)
      },
      broadcasts(_, page, { viewer }) {
        requireScope(viewer, 'broadcasts:read')
        return pageBroadcasts(database, page)
      },
    },
    Mutation: {
      broadcastNotification: (_, { input }, { viewer }) => create(requireScope(viewer, 'broadcasts:write').sub, input),
      async cancelBroadcast(_, { id }, { viewer }) {
        requireScope(viewer, 'broadcasts:write')
        const known = await findBroadcast(database, id)
        if (known?.finishedAt === null) await stopBroadcast(database, known.id, 'CANCELLED', null)
        const broadcast = known && (await findBroadcast(database, known.id))
        if (!broadcast) throw new CarillonError('NOT_FOUND', 'there is no such broadcast')
        return broadcast
      },
    },
    Subscription: {
      broadcastProgress: {
        subscribe(_, { id }, { viewer }) {
          requireScope(viewer, 'broadcasts:read')
          return progress.watch(id)
        },
        resolve: (broadcast: Broadcast) => broadcast,
      },
    },
  }
}

/** A broadcast by its id. */
export function createFindBroadcast(database: Database): FindNode {
  return async (id, { scopes }) => {
    const broadcast = scopes.has('broadcasts:read') ? await findBroadcast(database, id) : null
    return broadcast && { ...broadcast, __typename: 'Broadcast' as const }
  }
}
