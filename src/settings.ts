// The table of settings: every one that there is, with its environment variable, type, default, bounds and meaning.
// config.ts reads, checks and shows them.
import { isIP } from 'node:net'

export type Environment = Readonly<Record<string, string | undefined>>
export type SettingValue = string | number | boolean | null | readonly string[]

export interface Setting<Value extends SettingValue> {
  /** The environment variable. */
  readonly name: string
  /** What holds where the variable is not set; of `graphiql` and `introspection` it depends on NODE_ENV. */
  readonly fallback: Value | ((env: Environment) => Value)
  /** The default in words, where the value itself would not say it. */
  readonly fallbackText?: string
  /** What a value may be, in words. */
  readonly allowed: string
  readonly meaning: string
  /** What of it is never shown. A setting with something to hide may come from the file that `<name>_FILE` names. */
  readonly secret?: 'whole' | 'password'
  /** Undefined where the text does not fit. Never called with an empty text, which counts as not set. */
  parse(text: string): Value | undefined
}

/** HS256 is as strong as its key; RFC 7518 asks for one as long as the hash. */
export const jwtSecretBytesMin = 32

const kibibyte = 1024
const mebibyte = 1024 * kibibyte

export const settings = {
  host: text('HOST', '127.0.0.1', 'address to listen on; other than loopback it needs a JWT secret or a JWKS address', {
    allowed: 'a host name or an IP address, without a port',
    parse: (value) => (isIP(value) || /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(value) ? value : undefined),
  }),
  port: integer('PORT', 4000, [0, 65_535], 'port to listen on; 0 takes a free one'),
  databaseUrl: optional('DATABASE_URL', 'PostgreSQL 14 or newer', {
    fallbackText: 'none: embedded',
    allowed: 'an address such as postgres://user:password@host:5432/database',
    secret: 'password',
    parse: url('postgres:', 'postgresql:'),
  }),
  redisUrls: list('REDIS_URL', 'Redis 7 or newer', {
    fallbackText: 'none: in process',
    allowed: 'a redis:// or rediss:// address; several, for a cluster, are refused at start for now',
    secret: 'password',
    parse: listOf(url('redis:', 'rediss:')),
  }),
  dataDir: optional('CARILLON_DATA_DIR', 'folder of the embedded PostgreSQL and of the local JWT secret', {
    fallbackText: ".carillon, or /var/lib/carillon where PostgreSQL's user can't reach that",
  }),
  migrate: boolean('CARILLON_MIGRATE', true, 'migrate the database at start, one instance at a time'),
  jwtSecret: optional('CARILLON_JWT_SECRET', 'secret that tokens are signed with (HS256)', {
    fallbackText: 'embedded: one made on first start',
    allowed: `${jwtSecretBytesMin} bytes at least`,
    secret: 'whole',
    parse: (value) => (Buffer.byteLength(value) >= jwtSecretBytesMin ? value : undefined),
  }),
  jwksUrl: optional('CARILLON_JWKS_URL', 'public keys that tokens are checked with (RS256, ES256, EdDSA)', {
    allowed: 'an http or https address without user and password',
    parse: jwksAddress,
  }),
  jwtIssuer: optional('CARILLON_JWT_ISSUER', 'the `iss` that tokens must have, with CARILLON_JWKS_URL'),
  jwtAudience: optional('CARILLON_JWT_AUDIENCE', 'the `aud` that tokens must have, with CARILLON_JWKS_URL'),
  allowedOrigins: list('CARILLON_ALLOWED_ORIGINS', 'origins whose pages may call: CORS, and WebSocket upgrades', {
    fallbackText: 'none: the same origin',
    allowed: 'exact origins such as https://app.example.com, separated by commas; no *, path or final slash',
    parse: listOf(origin),
  }),
  maxConnections: integer(
    'CARILLON_MAX_CONNECTIONS',
    50_000,
    [1, 1_000_000],
    'WebSocket and SSE connections of one process',
  ),
  maxConnectionsPerUser: integer(
    'CARILLON_MAX_CONNECTIONS_PER_USER',
    20,
    [1, 1_000_000],
    'of those, how many one user may have',
  ),
  retentionDays: integer('CARILLON_RETENTION_DAYS', 30, [1, 3650], 'days that a notification is kept'),
  sendRatePerMinute: {
    ...integer(
      'CARILLON_SEND_RATE_PER_MINUTE',
      0,
      [0, 1_000_000],
      'notifications that one sender may send a minute, over all instances together',
    ),
    fallbackText: '0: none',
  },
  busChannels: integer(
    'CARILLON_BUS_CHANNELS',
    1,
    [1, 16_777_216],
    'Redis channels that users are spread over, the same for all instances',
  ),
  tailCheckMs: integer(
    'CARILLON_TAIL_CHECK_MS',
    5000,
    [100, 60_000],
    "milliseconds between comparisons of connected users' positions with the database",
  ),
  drainMs: integer(
    'CARILLON_DRAIN_MS',
    10_000,
    [0, 600_000],
    'milliseconds over which SIGTERM spreads the closing of sockets',
  ),
  userRatePerMinute: integer(
    'CARILLON_USER_RATE_PER_MINUTE',
    60,
    [0, 1_000],
    'notifications from broadcasts to one user within any minute; CRITICAL is exempt; 0: no limit',
  ),
  broadcastBatch: integer(
    'CARILLON_BROADCAST_BATCH',
    2_000,
    [1, 10_000],
    'users that a broadcast chooses and renders at a time',
  ),
  broadcastConcurrency: integer(
    'CARILLON_BROADCAST_CONCURRENCY',
    2,
    [1, 16],
    'batches of broadcasts under way in one process',
  ),
  graphiql: boolean('CARILLON_GRAPHIQL', unlessProduction, 'serve GraphiQL to browsers at /graphql'),
  introspection: boolean('CARILLON_INTROSPECTION', unlessProduction, 'answer introspection'),
  maxBodyBytes: integer(
    'CARILLON_MAX_BODY_BYTES',
    2 * mebibyte,
    [kibibyte, 64 * mebibyte],
    'bytes of an HTTP request body',
  ),
  maxMessageBytes: integer(
    'CARILLON_MAX_MESSAGE_BYTES',
    64 * kibibyte,
    [kibibyte, 16 * mebibyte],
    'bytes of a WebSocket message',
  ),
  initTimeoutMs: integer(
    'CARILLON_INIT_TIMEOUT_MS',
    3000,
    [100, 60_000],
    'milliseconds that a WebSocket has for connection_init',
  ),
  keepaliveMs: integer('CARILLON_KEEPALIVE_MS', 12_000, [1000, 300_000], 'milliseconds between signs of life'),
  maxSubscriptionsPerSocket: integer(
    'CARILLON_MAX_SUBSCRIPTIONS_PER_SOCKET',
    20,
    [1, 1000],
    'subscriptions that one WebSocket may have open',
  ),
  logLevel: oneOf(
    'LOG_LEVEL',
    'info',
    ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
    'the least that is logged; from debug on, a command that fails shows its stack',
  ),
}

function unlessProduction(env: Environment): boolean {
  return env.NODE_ENV !== 'production'
}

function text(
  name: string,
  fallback: string,
  meaning: string,
  { allowed, parse }: Pick<Setting<string>, 'allowed' | 'parse'>,
): Setting<string> {
  return { name, fallback, meaning, allowed, parse }
}

function optional(name: string, meaning: string, more: Partial<Setting<string | null>> = {}): Setting<string | null> {
  return { name, fallback: null, fallbackText: 'none', meaning, allowed: 'any text', parse: (value) => value, ...more }
}

function list(
  name: string,
  meaning: string,
  more: Pick<Setting<readonly string[]>, 'fallbackText' | 'allowed' | 'parse' | 'secret'>,
): Setting<readonly string[]> {
  return { name, fallback: [], meaning, ...more }
}

function integer(name: string, fallback: number, [min, max]: [number, number], meaning: string): Setting<number> {
  const parse = (value: string) => {
    const number = Number(value)
    return /^\d+$/.test(value) && number >= min && number <= max ? number : undefined
  }
  return { name, fallback, meaning, allowed: `a whole number from ${min} to ${max}`, parse }
}

function boolean(name: string, fallback: Setting<boolean>['fallback'], meaning: string): Setting<boolean> {
  const parse = (value: string) => (value === 'true' ? true : value === 'false' ? false : undefined)
  const setting = { name, fallback, meaning, allowed: 'true or false', parse }
  return typeof fallback === 'function' ? { ...setting, fallbackText: 'true, unless NODE_ENV is production' } : setting
}

function oneOf<Value extends string>(
  name: string,
  fallback: Value,
  values: readonly Value[],
  meaning: string,
): Setting<Value> {
  return {
    name,
    fallback,
    meaning,
    allowed: values.join(', '),
    parse: (text) => values.find((value) => value === text),
  }
}

function listOf(parse: (item: string) => string | undefined): (text: string) => readonly string[] | undefined {
  return (text) => {
    const items: string[] = []
    for (const item of text.split(',').map((item) => item.trim())) {
      if (item === '') continue
      const value = parse(item)
      if (value === undefined) return undefined
      items.push(value)
    }
    return items
  }
}

/** The text as it stands: a driver may read more out of it than the standard parser does. */
function url(...protocols: string[]): (text: string) => string | undefined {
  return (text) => (protocols.includes(parseUrl(text)?.protocol ?? '') ? text : undefined)
}

/** fetch refuses an address with a user or a password. */
function jwksAddress(text: string): string | undefined {
  const { username, password } = parseUrl(text) ?? { username: '', password: '' }
  return username === '' && password === '' ? url('http:', 'https:')(text) : undefined
}

/** As browsers send it. Apps in a web view have schemes of their own, which the standard parser gives no origin. */
function origin(text: string): string | undefined {
  if (/^https?:/i.test(text)) return parseUrl(text)?.origin === text ? text : undefined
  return /^[a-z][a-z0-9+.-]*:\/\/[a-z0-9.-]+(:\d+)?$/.test(text) ? text : undefined
}

function parseUrl(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined
}
