// A subscription's results: the source that its resolver returned, each event executed against the selection. Written by
// hand, since the `return()` of an async generator waits behind its pending `next()`, and a quiet subscription would
// then hold on to what it has until its next event.
import { createSourceEventStream, type ExecutionArgs, type ExecutionResult } from 'graphql'
import { CarillonError } from '../errors.ts'
import { mayPass } from './errors.ts'

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
   * source has ended, and rejects with what it failed with.
   */
  pushTo?(sink: Sink): Promise<void>
}

/** Where events go without being asked for one by one. */
export interface Sink<Arguments extends unknown[] = [event: unknown]> {
  readonly hasRoom: boolean
  /** Calls back once, as soon as there is room again; never where there will be none. */
  whenRoom(callback: () => void): void
  /** Must not throw. */
  take(...taken: Arguments): void
}

/** Takes results as JSON, with the events that they were made from. */
export type ResultSink = Sink<[json: string, event: unknown]>

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
  /** Instead of `next()`, where the source and the selection allow it. */
  pushTo?(sink: ResultSink): Promise<void>
  return(): Promise<IteratorResult<StreamedResult, undefined>>
}

type Execute = (event: unknown) => Promise<ExecutionResult>
type ToJson = (event: unknown) => string
type Next = IteratorResult<StreamedResult, undefined>

const done: Next = { done: true, value: undefined }

/** Rejects with what the resolver failed with, or with why the operation can't be carried out. */
export async function subscribeToSource(
  args: ExecutionArgs,
  execute: Execute,
  toJson: ToJson | undefined,
): Promise<ResultStream> {
  const source = await createSourceEventStream(args).catch((error: unknown) => {
    // Not the resolver's failure, which comes as a result: graphql-js found no field, since `@skip` took it away.
    throw error instanceof TypeError ? new CarillonError('BAD_USER_INPUT', 'the subscription selects nothing') : error
  })
  if (!(Symbol.asyncIterator in source)) {
    const errors = source.errors ?? []
    throw errors.find((error) => mayPass(error)) ?? errors[0] ?? new Error('the subscription did not start')
  }
  return mapSource(source[Symbol.asyncIterator](), execute, toJson)
}

function mapSource(
  source: AsyncIterator<unknown> & SourceObserver,
  execute: Execute,
  toJson: ToJson | undefined,
): ResultStream {
  let ended = false
  let settlePending: ((result: Next) => void) | undefined

  async function take(): Promise<Next> {
    let exhausted = true
    try {
      const { done: isLast, value: event } = await source.next()
      exhausted = isLast === true
      if (exhausted || ended) return done
      return { done: false, value: Object.assign(await execute(event), { [sourceEvent]: event }) }
    } catch (error) {
      // A source that failed has ended; one whose event could not be executed has not.
      if (!exhausted && !ended) await source.return?.()
      exhausted = true
      throw error
    } finally {
      ended ||= exhausted
    }
  }

  function pushTo(sink: ResultSink, toJson: ToJson): Promise<void> {
    return new Promise((resolve, reject) => {
      const take = (event: unknown) => {
        try {
          sink.take(toJson(event), event)
        } catch (error) {
          reject(error)
          void source.return?.()
        }
      }
      const pushed = source.pushTo?.({
        get hasRoom() {
          return sink.hasRoom
        },
        whenRoom: (callback) => sink.whenRoom(callback),
        take,
      })
      pushed?.then(resolve, reject)
    })
  }

  return {
    observer: source,
    ...(source.pushTo && toJson && { pushTo: (sink: ResultSink) => pushTo(sink, toJson) }),
    next() {
      if (ended) return Promise.resolve(done)
      return new Promise((resolve, reject) => {
        settlePending = resolve
        take().then(resolve, reject)
      })
    },
    async return() {
      if (!ended) {
        ended = true
        settlePending?.(done)
        await source.return?.()
      }
      return done
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}
