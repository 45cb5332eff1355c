// The database's time, as this process knows it. Instants that the database has stamped or will compare (created, expires)
// are compared with this, so that a process whose own clock is wrong drops nothing, refuses nothing and measures right.
// Tokens go by the process's clock. The health check (health.ts) adjusts it every second.

/** What most need of it. */
export interface Clock {
  /** Milliseconds since 1970, and parts of them. */
  now(): number
}

export interface DatabaseClock extends Clock {
  /** Asks the database. Fails where it does not answer; `now` goes on from what was known before. */
  adjust(): Promise<void>
}

/** The process's clock at its start, moved on evenly since: somebody who sets the clock changes nothing. */
const steadyTime = () => performance.timeOrigin + performance.now()

/** The process's own time until it was adjusted once. `ask` resolves to what the database's clock says. */
export function createClock(ask: () => Promise<number>, processTime = steadyTime): DatabaseClock {
  let offsetMs = 0
  return {
    now: () => processTime() + offsetMs,
    async adjust() {
      const askedAt = processTime()
      const databaseTime = await ask()
      const answeredAt = processTime()
      // The database looked at its clock somewhere in between. What lies within that stays as it is, so that a slow answer,
      // which says little, changes little.
      offsetMs = Math.min(Math.max(offsetMs, databaseTime - answeredAt), databaseTime - askedAt)
    },
  }
}
