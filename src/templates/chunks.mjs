// @ts-check
// What was rendered, in stretches of users that fit into one statement each.

/** @typedef {import('./renderer.ts').RenderedChunk} RenderedChunk */

/**
 * `items` of a chunk has `charactersMax` characters at most, but for a single item that has more.
 * @param {number} itemsMax
 * @param {number} charactersMax
 */
export function createChunks(itemsMax, charactersMax) {
  /** @type {RenderedChunk[]} */
  const chunks = []
  /** @type {string[]} */
  let items = []
  // The brackets, and behind each item a comma or a bracket.
  let characters = 1
  let failed = 0
  /** @type {string | null} */
  let upTo = null

  const close = () => {
    if (upTo === null) return
    chunks.push({ items: `[${items.join(',')}]`, count: items.length, failed, upTo })
    items = []
    characters = 1
    failed = 0
    upTo = null
  }
  return {
    /**
     * @param {string} userId
     * @param {string} item JSON.
     */
    add(userId, item) {
      const isFull = items.length >= itemsMax || characters + item.length + 1 > charactersMax
      if (items.length > 0 && isFull) close()
      items.push(item)
      characters += item.length + 1
      upTo = userId
    },
    /** @param {string} userId */
    fail(userId) {
      failed++
      upTo = userId
    },
    finish() {
      close()
      return chunks
    },
  }
}
