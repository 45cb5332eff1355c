// The consumer's side of a stream: what is ready, and who waits for it. Never an async generator, in which return() would
// queue behind a next() that may wait for hours.

type Result<Event> = IteratorResult<Event, undefined>

export interface OutletOptions<Event> {
  /** Somebody asks for more. */
  onPull(): void
  /** Looked at as late as possible: what is stale is left out. */
  isStale(event: Event): boolean
}

export class Outlet<Event> {
  readonly #options: OutletOptions<Event>
  #ready: Event[] = []
  #pulls: { resolve(result: Result<Event>): void; reject(error: unknown): void }[] = []
  #isEnded = false

  constructor(options: OutletOptions<Event>) {
    this.#options = options
  }

  /** Whether somebody waits and nothing is ready. */
  get isWanting(): boolean {
    return this.#pulls.length > 0
  }

  push(event: Event): void {
    if (this.#isEnded) return
    this.#ready.push(event)
    this.#handOut()
  }

  next(): Promise<Result<Event>> {
    if (this.#isEnded) return Promise.resolve({ value: undefined, done: true })
    return new Promise((resolve, reject) => {
      this.#pulls.push({ resolve, reject })
      this.#handOut()
      if (this.isWanting) this.#options.onPull()
    })
  }

  /** Settles every next() that waits: the first with the failure, if there is one. What was ready is dropped. */
  end(failure?: { error: unknown }): void {
    this.#isEnded = true
    this.#ready = []
    const pulls = this.#pulls.splice(0)
    if (failure) pulls.shift()?.reject(failure.error)
    for (const { resolve } of pulls) resolve({ value: undefined, done: true })
  }

  #handOut(): void {
    while (this.#pulls.length > 0) {
      const event = this.#ready.shift()
      if (event === undefined) return
      if (!this.#options.isStale(event)) this.#pulls.shift()?.resolve({ value: event, done: false })
    }
  }
}
