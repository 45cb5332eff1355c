// Who is asking: a signed token in, a viewer out.

/** What a token may do besides its own inbox. */
export type Scope =
  | 'notifications:send'
  | 'inbox:any'
  | 'users:read'
  | 'users:write'
  | 'templates:write'
  | 'broadcasts:read'
  | 'broadcasts:write'
  | 'admin'

export interface Viewer {
  /** The token's `sub`: a user, or a service. */
  sub: string
  scopes: ReadonlySet<string>
  /** Milliseconds since 1970. Exact: nothing is answered or delivered from then on. */
  expiresAt: number
}

export interface Auth {
  /** Fails with UNAUTHENTICATED where the token does not hold. The text is the bare JWT. */
  verify(token: string): Promise<Viewer>
}
