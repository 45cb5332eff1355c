// Statements over segments are planned with the values at hand: how many users a condition finds decides whether to look
// for them in the index of attributes or to walk along the ids. All others here have one plan for whatever values
// (postgres.ts).
import { type Kysely, sql, type Transaction } from 'kysely'
import { sqlState } from '../postgres.ts'
import { withRetry } from '../retry.ts'

/** Fails with UNAVAILABLE where it may succeed later. */
export function planned<Tables, Result>(
  kysely: Kysely<Tables>,
  work: (transaction: Transaction<Tables>) => Promise<Result>,
): Promise<Result> {
  return withRetry(() =>
    kysely.transaction().execute(async (transaction) => {
      await sql`set local plan_cache_mode = force_custom_plan`.execute(transaction)
      return work(transaction)
    }),
  )
}

/** Whether `planned` failed because a statement ran into its time limit. */
export function tookTooLong(error: unknown): boolean {
  return error instanceof Error && sqlState(error.cause) === queryCanceled
}

const queryCanceled = '57014'
