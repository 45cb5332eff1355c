// The consumer's side of a stream: what is ready, and who waits for it: either one that asks for each event with next(), or
// a sink that takes them as they come. Never an async generator, in which return() would queue behind a next() that may
// wait for hours.

type Result<Event> = IteratorResult<Event, undefined>

export interface OutletSink<Event> {
  readonly hasRoom: boolean
  /** Calls back once, as soon as there is room again. */
  whenRoom(callback: () => void): void
  /** Where it throws, the stream ends. */
  take(event: Event): void
}

/** Whose events they are. */
export interface OutletOwner<Event> {
  /** Somebody asks for more. */
  pulled(): void
  /** Looked at as late as possible: what is stale is left out. */
  isStale(event: Event): boolean
  /** A sink could not take an event: the outlet has to be ended. */
  sinkFailed(error: unknown): void
}

export class Outlet<Event> {
  readonly #owner: OutletOwner<Event>
  #ready: Event[] = []
  #pulls: { resolve(result: Result<Event>): void; reject(error: unknown): void }[] = []
  #sink: OutletSink<Event> | undefined
  #sinkEnds: { resolve(): void; reject(error: unknown): void } | undefined
  #isWaitingForRoom = false
  #isEnded = false

  constructor(owner: OutletOwner<Event>) {
    this.#owner = owner
  }

  /** Whether somebody waits and nothing is ready. Where nobody does, `pulled` is called as soon as somebody will. */
  get isWanting(): boolean {
    return this.#sink ? this.#ready.length === 0 && this.#hasRoom(this.#sink) : this.#pulls.length > 0
  }

  push(event: Event): void {
    if (this.#isEnded) return
    // The usual case: somebody takes it at once.
    if (this.#sink && this.#ready.length === 0 && this.#hasRoom(this.#sink)) {
      this.#give(this.#sink, event)
      return
    }
    this.#ready.push(event)
    this.#handOut()
  }

  next(): Promise<Result<Event>> {
    if (this.#isEnded) return Promise.resolve({ value: undefined, done: true })
    return new Promise((resolve, reject) => {
      this.#pulls.push({ resolve, reject })
      this.#wake()
    })
  }

  /** Resolves at the end, or rejects with the failure. Nobody may call `next()` as well. */
  pushTo(sink: OutletSink<Event>): Promise<void> {
    if (this.#isEnded) return Promise.resolve()
    return new Promise((resolve, reject) => {
      this.#sink = sink
      this.#sinkEnds = { resolve, reject }
      this.#wake()
    })
  }

  /** Settles every next() that waits: the first with the failure, if there is one. What was ready is dropped. */
  end(failure?: { error: unknown }): void {
    this.#isEnded = true
    this.#ready = []
    const pulls = this.#pulls.splice(0)
    if (failure) pulls.shift()?.reject(failure.error)
    for (const { resolve } of pulls) resolve({ value: undefined, done: true })
    if (failure) this.#sinkEnds?.reject(failure.error)
    this.#sinkEnds?.resolve()
  }

  #wake(): void {
    this.#handOut()
    if (this.isWanting) this.#owner.pulled()
  }

  #hasRoom(sink: OutletSink<Event>): boolean {
    if (sink.hasRoom) return true
    if (!this.#isWaitingForRoom) {
      this.#isWaitingForRoom = true
      sink.whenRoom(() => {
        this.#isWaitingForRoom = false
        this.#wake()
      })
    }
    return false
  }

  #handOut(): void {
    const sink = this.#sink
    while (sink && this.#ready.length > 0 && this.#hasRoom(sink)) {
      const event = this.#ready.shift()
      if (event !== undefined) this.#give(sink, event)
    }
    while (this.#pulls.length > 0) {
      const event = this.#ready.shift()
      if (event === undefined) return
      if (!this.#owner.isStale(event)) this.#pulls.shift()?.resolve({ value: event, done: false })
    }
  }

  #give(sink: OutletSink<Event>, event: Event): void {
    if (this.#owner.isStale(event)) return
    try {
      sink.take(event)
    } catch (error) {
      this.#owner.sinkFailed(error)
    }
  }
}
