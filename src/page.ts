// Pages of lists, as the Relay connection spec has them.
import { badUserInput } from './errors.ts'

export const pageSizeDefault = 20
export const pageSizeMax = 100

export interface Page<Node> {
  edges: { cursor: string; node: Node }[]
  nodes: Node[]
  pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean; startCursor: string | null; endCursor: string | null }
}

/** Fails with BAD_USER_INPUT for both, and for what is out of range. */
export function pageSizeOf(first: number | null | undefined, last?: number | null | undefined): number {
  if (first != null && last != null) throw badUserInput('give first or last, not both')
  const size = first ?? last ?? pageSizeDefault
  if (size < 1 || size > pageSizeMax) throw badUserInput(`a page has 1 to ${pageSizeMax}`)
  return size
}

/** `nodes` in the order in which they are listed. */
export function toPage<Node>(
  nodes: Node[],
  cursorOf: (node: Node) => string,
  { hasNextPage, hasPreviousPage }: { hasNextPage: boolean; hasPreviousPage: boolean },
): Page<Node> {
  const edges = nodes.map((node) => ({ cursor: cursorOf(node), node }))
  const [startCursor, endCursor] = [edges[0]?.cursor ?? null, edges.at(-1)?.cursor ?? null]
  return { edges, nodes, pageInfo: { hasNextPage, hasPreviousPage, startCursor, endCursor } }
}
