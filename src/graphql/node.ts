// `node(id)`: one object of whatever kind by its id. Each slice knows its own ids, and who may see what is behind them.
import { requireViewer, type Viewer } from '../auth.ts'
import type { Context } from './context.ts'

export interface AnyNode {
  __typename: 'Notification' | 'Inbox' | 'Template' | 'Broadcast'
}

/** Null for an id that is none of its own, and for what this viewer may not see. */
export type FindNode = (id: string, viewer: Viewer) => Promise<AnyNode | null>

/** Asks one slice after the other. Fails with UNAUTHENTICATED without a viewer. */
export function createNodeResolvers(...slices: FindNode[]) {
  return {
    Query: {
      async node(_: unknown, { id }: { id: string }, { viewer }: Context): Promise<AnyNode | null> {
        const someone = requireViewer(viewer)
        for (const find of slices) {
          const node = await find(id, someone)
          if (node) return node
        }
        return null
      },
    },
    Node: { __resolveType: ({ __typename }: AnyNode) => __typename },
  }
}
