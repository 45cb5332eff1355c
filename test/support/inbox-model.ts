// What a user's log is meant to be, in memory and without anything that could go wrong.

export interface States {
  delivered: boolean
  seen: boolean
  read: boolean
  archived: boolean
}

export interface Row extends States {
  id: string
  seq: number
  cursor: string
  isRetracted: boolean
}

/** What a device can tell of one. */
export type Held = States & { id: string; seq: number }

export interface Counters {
  undeliveredCount: number
  unseenCount: number
  unreadCount: number
}

export const upToMarks = ['markDelivered', 'markSeen', 'markRead', 'archiveNotifications'] as const
export const idsMarks = [...upToMarks, 'markUnread', 'unarchiveNotifications'] as const
/** The name of the mutation. */
export type MarkName = (typeof idsMarks)[number]

interface Mark {
  appliesTo(row: States): boolean
  sets: Partial<States>
}

const marks: Record<MarkName, Mark> = {
  markDelivered: { appliesTo: (row) => !row.delivered, sets: { delivered: true } },
  markSeen: { appliesTo: (row) => !row.seen, sets: { delivered: true, seen: true } },
  markRead: { appliesTo: (row) => !row.read, sets: { delivered: true, seen: true, read: true } },
  archiveNotifications: {
    appliesTo: (row) => !row.archived,
    sets: { delivered: true, seen: true, read: true, archived: true },
  },
  markUnread: { appliesTo: (row) => row.read && !row.archived, sets: { read: false } },
  unarchiveNotifications: { appliesTo: (row) => row.archived, sets: { archived: false } },
}

export class InboxModel {
  readonly #rows: Row[] = []

  /** In order of seq, which has to go on where it was. */
  append(rows: readonly { id: string; seq: number; cursor: string }[]): Row[] {
    return rows.map(({ id, seq, cursor }) => {
      if (seq !== this.#rows.length + 1) throw new Error(`seq ${seq} follows on ${this.#rows.length}`)
      const row = { id, seq, cursor, delivered: false, seen: false, read: false, archived: false, isRetracted: false }
      this.#rows.push(row)
      return row
    })
  }

  /** Any of all there ever were, by a number of any size. */
  pick(number: number): Row | undefined {
    return this.#rows[number % this.#rows.length]
  }

  /** Retracts, and returns whether there was something to retract. */
  retract(row: Row): boolean {
    const wasThere = !row.isRetracted
    row.isRetracted = true
    return wasThere
  }

  /** Returns those that changed. */
  mark(name: MarkName, isChosen: (row: Row) => boolean): Row[] {
    const { appliesTo, sets } = marks[name]
    const changed = this.visible.filter((row) => isChosen(row) && appliesTo(row))
    for (const row of changed) Object.assign(row, sets)
    return changed
  }

  /** The seq of the newest one. */
  get head(): number {
    return this.#rows.length
  }

  /** Oldest first. */
  get visible(): Row[] {
    return this.#rows.filter(({ isRetracted }) => !isRetracted)
  }

  get counters(): Counters {
    const counted = this.visible.filter(({ archived }) => !archived)
    return {
      undeliveredCount: counted.filter(({ delivered }) => !delivered).length,
      unseenCount: counted.filter(({ seen }) => !seen).length,
      unreadCount: counted.filter(({ read }) => !read).length,
    }
  }
}
