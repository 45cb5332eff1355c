// When tokens expire: one timer for all of them, set to the earliest. Scheduling and cancelling take logarithmic time
// and a cancelled deadline is forgotten at once, since connections come and go long before a token's day is over.

export interface Deadlines {
  /** Calls back once `at` has come (milliseconds since 1970), never before. The result cancels it. */
  schedule(at: number, callback: () => void): () => void
  /** Forgets all. */
  close(): void
}

interface Deadline {
  at: number
  callback: () => void
  /** Its place in the heap; -1 once it is out. */
  index: number
}

/** The longest that Node's timers can wait. */
const timerMsMax = 2 ** 31 - 1

export function createDeadlines(): Deadlines {
  /** A binary heap: none is due before its parent, which is at half its index. */
  const heap: Deadline[] = []
  let timer: NodeJS.Timeout | undefined

  function place(deadline: Deadline, index: number): void {
    heap[index] = deadline
    deadline.index = index
  }

  function siftUp(deadline: Deadline): void {
    let { index } = deadline
    while (index > 0) {
      const parentIndex = (index - 1) >> 1
      const parent = heap[parentIndex]
      if (!parent || parent.at <= deadline.at) break
      place(parent, index)
      index = parentIndex
    }
    place(deadline, index)
  }

  function siftDown(deadline: Deadline): void {
    let { index } = deadline
    for (;;) {
      const left = heap[2 * index + 1]
      const right = heap[2 * index + 2]
      const child = left && right && right.at < left.at ? right : left
      if (!child || child.at >= deadline.at) break
      const childIndex = child.index
      place(child, index)
      index = childIndex
    }
    place(deadline, index)
  }

  function remove(deadline: Deadline): void {
    const { index } = deadline
    const last = heap.pop()
    deadline.index = -1
    if (!last || last === deadline) return
    place(last, index)
    siftUp(last)
    siftDown(last)
  }

  function fire(): void {
    for (let first = heap[0]; first && first.at <= Date.now(); first = heap[0]) {
      remove(first)
      first.callback()
    }
    wait()
  }

  function wait(): void {
    clearTimeout(timer)
    const first = heap[0]
    timer = first && setTimeout(fire, Math.min(Math.max(first.at - Date.now(), 0), timerMsMax))
  }

  return {
    schedule(at, callback) {
      const deadline = { at, callback, index: heap.length }
      siftUp(deadline)
      if (deadline.index === 0) wait()
      return () => {
        if (deadline.index === -1) return
        const wasFirst = deadline.index === 0
        remove(deadline)
        if (wasFirst) wait()
      }
    },
    close() {
      heap.length = 0
      clearTimeout(timer)
    },
  }
}
