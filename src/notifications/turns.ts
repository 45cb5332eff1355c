// Turns: so many of something at a time, the others first come, first served. What waits is in memory alone and holds
// nothing, so that thousands who want to read their logs at once leave connections to everybody else.

export interface Turn {
  /** True when it has come, and `end` or `giveUpAll` has to be called some time; false where it was given up before. */
  readonly hasCome: Promise<boolean>
  /** For one that still waits: those behind it move up. Does nothing once it has come. */
  giveUp(): void
}

export interface Turns {
  wait(): Turn
  /** Whoever has waited longest is next. */
  end(): void
  /** In the place of `end`, where waiting is of no use: all that wait are given up. */
  giveUpAll(): void
}

type Settle = (hasCome: boolean) => void

export function createTurns(max: number): Turns {
  let free = max
  const waiting = new Set<Settle>()
  // Kept from one to the next: a new one would walk over the places of all that were taken before.
  let order = waiting.values()

  function takeLongest(): Settle | undefined {
    const { done, value } = order.next()
    // One that has come to the end stays there.
    if (done) order = waiting.values()
    else waiting.delete(value)
    return value
  }

  return {
    wait() {
      let giveUp = () => {}
      const hasCome = new Promise<boolean>((settle) => {
        if (free > 0) {
          free--
          settle(true)
          return
        }
        waiting.add(settle)
        giveUp = () => {
          if (waiting.delete(settle)) settle(false)
        }
      })
      return { hasCome, giveUp }
    },
    end() {
      const settle = takeLongest()
      if (settle) settle(true)
      else free++
    },
    giveUpAll() {
      for (let settle = takeLongest(); settle; settle = takeLongest()) settle(false)
      free++
    },
  }
}
