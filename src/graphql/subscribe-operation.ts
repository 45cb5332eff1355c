// A subscription's results: the source that its resolver returned, each event executed against the selection, or rendered
// (render.ts) where the source pushes. Written by hand, since the `return()` of an async generator waits behind its pending
// `next()`, and a quiet subscription would then hold on to what it has until its next event.
import { createSourceEventStream, type ExecutionResult } from 'graphql'
import { CarillonError } from '../errors.ts'
import { mayPass } from './errors.ts'
import type { Operation } from './operation.ts'
import type { FindRender, Render } from './render.ts'

/**
 * What the iterator of a source may have besides, to learn how far its events came. Each is called in the order of the
 * events, with the event as the source yielded it, and not at all for one whose connection broke. Neither may throw.
 */
export interface SourceObserver {
  /** The event has been handed to the operating system. */
  written?(event: unknown): void
  /** The other side has received it: over WebSocket it answered a ping sent behind it; over SSE as `written`. */
  confirmed?(event: unknown): void
  /** Whether `confirmed` is to be called, at the price of a ping. */
  wantsConfirmation?: boolean
  /**
   * Instead of `next()`: hands each event to the sink as soon as there is one and the sink has room. Resolves when the
   * source has ended, and rejects with what it, or the sink, failed with.
   */
  pushTo?(sink: Sink): Promise<void>
}

/** Where events go without being asked for one by one. */
export interface Sink {
  readonly hasRoom: boolean
  /** Calls back once, as soon as there is room again; never where there will be none. */
  whenRoom(callback: () => void): void
  /** Where it throws, the source ends. */
  take(event: unknown): void
}

/** Under this key a result carries the event that it was made from. */
export const sourceEvent: unique symbol = Symbol('source event')

export interface StreamedResult extends ExecutionResult {
  [sourceEvent]: unknown
}

/**
 * `next()` takes one event from the source, so that whoever reads slowly holds the source back; one call at a time.
 * `return()` settles a pending `next()` at once, and the source's `return()` is called exactly once, unless it ended by
 * itself. `next()` rejects with what the source failed with.
 */
export interface ResultStream extends AsyncIterableIterator<StreamedResult, undefined> {
  readonly observer: SourceObserver
  /** Whether the observer's `pushTo` may be called instead of `next()`, and `toJson` with what it pushes. */
  readonly isPushed: boolean
  /** The result of an event, as JSON. */
  toJson(event: unknown): string
  return(): Promise<IteratorResult<StreamedResult, undefined>>
}

/** What makes results of the events of an operation. */
export interface EventResults {
  execute(operation: Operation, event: unknown): Promise<ExecutionResult>
  findRender: FindRender
  toJson(operation: Operation, render: Render, event: unknown): string
}

type Next = IteratorResult<StreamedResult, undefined>

const done: Next = { done: true, value: undefined }

/** Rejects with what the resolver failed with, or with why the operation can't be carried out. */
export async function subscribeToSource(operation: Operation, results: EventResults): Promise<ResultStream> {
  const source = await createSourceEventStream(operation).catch((error: unknown) => {
    // Not the resolver's failure, which comes as a result: graphql-js found no field, since `@skip` took it away.
    throw error instanceof TypeError ? new CarillonError('BAD_USER_INPUT', 'the subscription selects nothing') : error
  })
  if (!(Symbol.asyncIterator in source)) {
    const errors = source.errors ?? []
    throw errors.find((error) => mayPass(error)) ?? errors[0] ?? new Error('the subscription did not start')
  }
  return new SourceResults(source[Symbol.asyncIterator](), operation, results)
}

class SourceResults implements ResultStream {
  readonly observer: AsyncIterator<unknown> & SourceObserver
  readonly #operation: Operation
  readonly #results: EventResults
  readonly #render: Render | undefined
  #isEnded = false
  #settlePending: ((result: Next) => void) | undefined

  constructor(source: AsyncIterator<unknown> & SourceObserver, operation: Operation, results: EventResults) {
    this.observer = source
    this.#operation = operation
    this.#results = results
    this.#render = source.pushTo && results.findRender(operation)
  }

  get isPushed(): boolean {
    return this.#render !== undefined
  }

  toJson(event: unknown): string {
    if (!this.#render) throw new TypeError('the results of this subscription are not pushed')
    return this.#results.toJson(this.#operation, this.#render, event)
  }

  next(): Promise<Next> {
    if (this.#isEnded) return Promise.resolve(done)
    return new Promise((resolve, reject) => {
      this.#settlePending = resolve
      this.#take().then(resolve, reject)
    })
  }

  async return(): Promise<Next> {
    if (!this.#isEnded) {
      this.#isEnded = true
      this.#settlePending?.(done)
      await this.observer.return?.()
    }
    return done
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async #take(): Promise<Next> {
    let exhausted = true
    try {
      const { done: isLast, value: event } = await this.observer.next()
      exhausted = isLast === true
      if (exhausted || this.#isEnded) return done
      const result = await this.#results.execute(this.#operation, event)
      return { done: false, value: Object.assign(result, { [sourceEvent]: event }) }
    } catch (error) {
      // A source that failed has ended; one whose event could not be executed has not.
      if (!exhausted && !this.#isEnded) await this.observer.return?.()
      exhausted = true
      throw error
    } finally {
      this.#isEnded ||= exhausted
    }
  }
}
