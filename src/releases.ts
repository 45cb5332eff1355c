// What has been acquired, to be released in reverse order. Every release runs, even where one before it failed.

export type Release = () => PromiseLike<void> | void

export interface Releases extends AsyncDisposable {
  push(release: Release): void
  /** Runs them, the newest first, once; later calls wait for the first. Fails with the first failure, after all ran. */
  run(): Promise<void>
}

export function createReleases(): Releases {
  const stack: Release[] = []
  let running: Promise<void> | undefined
  const runAll = async () => {
    const failures: unknown[] = []
    for (let release = stack.pop(); release; release = stack.pop()) {
      try {
        await release()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }
  const run = () => {
    running ??= runAll()
    return running
  }
  return { push: (release) => void stack.push(release), run, [Symbol.asyncDispose]: run }
}
