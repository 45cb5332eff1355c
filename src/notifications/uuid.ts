// Ids of notifications, as callers hand them over. New ones: new-id.mjs.

/** True for what PostgreSQL takes as a uuid in its usual form; a list with anything else in it is refused whole. */
export function isUuid(id: string): boolean {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id)
}
