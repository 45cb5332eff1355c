// What somebody probably meant: the known name that takes the fewest edits to reach.

/** The candidate nearest to `word`; of several as near, the first. There must be at least one. */
export function nearest(word: string, candidates: Iterable<string>): string {
  let best = ''
  let bestDistance = Number.POSITIVE_INFINITY
  for (const candidate of candidates) {
    const distance = editDistance(word, candidate)
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return best
}

/** Damerau-Levenshtein: inserting, deleting or replacing a character, or swapping two neighbours, counts one each. */
export function editDistance(from: string, to: string): number {
  let beforePrevious: number[] = []
  let previous = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let i = 1; i <= from.length; i++) {
    const row = [i]
    for (let j = 1; j <= to.length; j++) {
      const replaced = at(previous, j - 1) + (from[i - 1] === to[j - 1] ? 0 : 1)
      const swapped = i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]
      row[j] = Math.min(
        at(row, j - 1) + 1,
        at(previous, j) + 1,
        replaced,
        swapped ? at(beforePrevious, j - 2) + 1 : replaced,
      )
    }
    beforePrevious = previous
    previous = row
  }
  return at(previous, to.length)
}

function at(row: number[], index: number): number {
  return row[index] ?? 0
}
