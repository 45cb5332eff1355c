// A user as the directory holds them. Instants are milliseconds since 1970; what is absent is null.
import type { JsonObject } from '../json.ts'

export interface User {
  id: string
  name: string | null
  /** BCP 47, in its canonical case. */
  locale: string | null
  /** IANA. */
  timeZone: string | null
  attributes: JsonObject
  createdAt: number
  updatedAt: number
}

/** What is left out stays as it is, null clears. */
export interface UserInput {
  id: string
  name?: string | null | undefined
  locale?: string | null | undefined
  timeZone?: string | null | undefined
  /** Replaced whole; null: none. */
  attributes?: JsonObject | null | undefined
}
