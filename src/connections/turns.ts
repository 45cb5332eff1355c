// So much of one kind of work in one turn of the event loop, and the rest in the turns that follow, in order: who comes
// alone is served at once, and a crowd does not make everybody else wait until all of it has been served.

/** Runs `work` now, or in a later turn. It must not throw. */
export type InTurn = (work: () => void) => void

export function createTurns(perTurnMax: number): InTurn {
  const waiting: (() => void)[] = []
  let done = 0

  function nextTurn(): void {
    done = 0
    for (const work of waiting.splice(0, perTurnMax)) run(work)
  }

  function run(work: () => void): void {
    done += 1
    if (done === 1) setImmediate(nextTurn)
    work()
  }

  return (work) => {
    if (done < perTurnMax && waiting.length === 0) run(work)
    else waiting.push(work)
  }
}
