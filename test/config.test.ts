import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, expectTypeOf, test } from 'vitest'
import { type Config, ConfigError, describeConfig, loadConfig } from '../src/config.ts'
import { nearest } from '../src/nearest.ts'
import { type Environment, settings } from '../src/settings.ts'

const secret = randomBytes(32).toString('base64')

function problems(env: Environment): readonly string[] {
  try {
    loadConfig(env)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
  return []
}

test('has a default for every setting', () => {
  expect(loadConfig({})).toEqual({
    host: '127.0.0.1',
    port: 4000,
    databaseUrl: null,
    redisUrls: [],
    dataDir: null,
    migrate: true,
    jwtSecret: null,
    jwksUrl: null,
    jwtIssuer: null,
    jwtAudience: null,
    allowedOrigins: [],
    maxConnections: 50_000,
    maxConnectionsPerUser: 20,
    retentionDays: 30,
    sendRatePerMinute: 0,
    busChannels: 1,
    tailCheckMs: 5000,
    drainMs: 10_000,
    userRatePerMinute: 60,
    broadcastBatch: 2_000,
    broadcastConcurrency: 2,
    graphiql: true,
    introspection: true,
    maxBodyBytes: 2_097_152,
    maxMessageBytes: 65_536,
    initTimeoutMs: 3000,
    keepaliveMs: 12_000,
    maxSubscriptionsPerSocket: 20,
    logLevel: 'info',
  })
})

test('has types as exact as its values', () => {
  expectTypeOf<Config['port']>().toEqualTypeOf<number>()
  expectTypeOf<Config['migrate']>().toEqualTypeOf<boolean>()
  expectTypeOf<Config['databaseUrl']>().toEqualTypeOf<string | null>()
  expectTypeOf<Config['redisUrls']>().toEqualTypeOf<readonly string[]>()
  expectTypeOf<'info'>().toExtend<Config['logLevel']>()
  expectTypeOf<'loud'>().not.toExtend<Config['logLevel']>()
})

test('reads every setting from the environment', () => {
  const config = loadConfig({
    HOST: '::1',
    PORT: '0',
    DATABASE_URL: 'postgresql://carillon:p%40ss@db/carillon?sslmode=require',
    REDIS_URL: 'redis://one:6379, rediss://:word@two:6379/3,',
    CARILLON_DATA_DIR: '/srv/carillon',
    CARILLON_MIGRATE: 'false',
    CARILLON_JWKS_URL: 'https://sign-in.example.com/.well-known/jwks.json',
    CARILLON_JWT_ISSUER: 'https://sign-in.example.com',
    CARILLON_JWT_AUDIENCE: 'carillon',
    CARILLON_ALLOWED_ORIGINS: 'https://app.example.com, http://localhost:3000,capacitor://localhost',
    CARILLON_SEND_RATE_PER_MINUTE: '600',
    CARILLON_BUS_CHANNELS: '16777216',
    CARILLON_GRAPHIQL: 'false',
    LOG_LEVEL: 'debug',
  })
  expect(config).toMatchObject({
    host: '::1',
    port: 0,
    databaseUrl: 'postgresql://carillon:p%40ss@db/carillon?sslmode=require',
    redisUrls: ['redis://one:6379', 'rediss://:word@two:6379/3'],
    dataDir: '/srv/carillon',
    migrate: false,
    jwksUrl: 'https://sign-in.example.com/.well-known/jwks.json',
    jwtIssuer: 'https://sign-in.example.com',
    jwtAudience: 'carillon',
    allowedOrigins: ['https://app.example.com', 'http://localhost:3000', 'capacitor://localhost'],
    sendRatePerMinute: 600,
    busChannels: 16_777_216,
    graphiql: false,
    introspection: true,
    logLevel: 'debug',
  })
})

test('is frozen, its lists too', () => {
  const config = loadConfig({ REDIS_URL: 'redis://one' })
  expect(Object.isFrozen(config)).toBe(true)
  expect(Object.isFrozen(config.redisUrls)).toBe(true)
  expect(Object.isFrozen(loadConfig({}).allowedOrigins)).toBe(true)
})

test('takes an empty variable as one that is not set', () => {
  const empty = Object.fromEntries(Object.values(settings).map(({ name }) => [name, '']))
  expect(loadConfig({ ...empty, CARILLON_JWT_SECRET_FILE: '', CARILLON_NONSENSE: '' })).toEqual(loadConfig({}))
})

test('shows GraphiQL and the schema to everybody but in production', () => {
  const shown = ({ graphiql, introspection }: Config) => [graphiql, introspection]
  expect(shown(loadConfig({ NODE_ENV: 'test' }))).toEqual([true, true])
  expect(shown(loadConfig({ NODE_ENV: 'production' }))).toEqual([false, false])
  expect(shown(loadConfig({ NODE_ENV: 'production', CARILLON_GRAPHIQL: 'true' }))).toEqual([true, false])
})

test.each<[Environment, string]>([
  [{ PORT: '65536' }, 'PORT=65536: must be a whole number from 0 to 65535'],
  [{ PORT: '-1' }, 'PORT=-1: must be a whole number from 0 to 65535'],
  [{ PORT: '4e3' }, 'PORT=4e3: must be a whole number from 0 to 65535'],
  [{ PORT: ' 80' }, 'PORT= 80: must be a whole number from 0 to 65535'],
  [{ HOST: 'localhost:80' }, 'HOST=localhost:80: must be a host name or an IP address, without a port'],
  [{ CARILLON_RETENTION_DAYS: '0' }, 'CARILLON_RETENTION_DAYS=0: must be a whole number from 1 to 3650'],
  [
    { CARILLON_SEND_RATE_PER_MINUTE: '1000001' },
    'CARILLON_SEND_RATE_PER_MINUTE=1000001: must be a whole number from 0 to 1000000',
  ],
  [{ CARILLON_BUS_CHANNELS: '16777217' }, 'CARILLON_BUS_CHANNELS=16777217: must be a whole number from 1 to 16777216'],
  [{ CARILLON_TAIL_CHECK_MS: '99' }, 'CARILLON_TAIL_CHECK_MS=99: must be a whole number from 100 to 60000'],
  [{ CARILLON_MIGRATE: 'yes' }, 'CARILLON_MIGRATE=yes: must be true or false'],
  [{ LOG_LEVEL: 'loud' }, 'LOG_LEVEL=loud: must be fatal, error, warn, info, debug, trace, silent'],
  [{ LOG_LEVEL: 'lo\nud' }, 'LOG_LEVEL=lo ud: must be fatal, error, warn, info, debug, trace, silent'],
])('refuses %o with one line', (env, line) => {
  expect(problems(env)).toEqual([line])
})

test.each([
  '*',
  'null',
  'https://app.example.com/',
  'https://app.example.com:443',
  'https://App.example.com',
  'https://app.example.com/path',
  'https://user@app.example.com',
  'app.example.com',
  'https://fine.example.com,https://*.example.com/',
])('refuses %s as an exact origin', (origins) => {
  expect(problems({ CARILLON_ALLOWED_ORIGINS: origins })).toEqual([
    `CARILLON_ALLOWED_ORIGINS=${origins.replace('user@', '***@')}: must be exact origins such as https://app.example.com, separated by commas; no *, path or final slash`,
  ])
})

test('tells everything that is wrong at once', () => {
  expect(
    problems({ PORT: 'x', CARILLON_DRAIN_MS: 'y', CARILLON_DRAIN: '1' }).map((line) => line.split('=')[0]),
  ).toEqual(['CARILLON_DRAIN', 'PORT', 'CARILLON_DRAIN_MS'])
})

test.each([
  ['CARILLON_MAX_CONECTIONS', 'CARILLON_MAX_CONNECTIONS'],
  ['CARILLON_MAX_CONNECTIONS_PRE_USER', 'CARILLON_MAX_CONNECTIONS_PER_USER'],
  ['CARILLON_PORT', 'PORT'],
  ['CARILLON_LOGLEVEL', 'LOG_LEVEL'],
  ['CARILLON_KEEP_ALIVE_MS', 'CARILLON_KEEPALIVE_MS'],
])('names the nearest known setting for %s', (name, known) => {
  expect(problems({ [name]: '7' })).toEqual([`${name}=7: there is no such setting; did you mean ${known}?`])
})

test('counts two swapped letters as one slip', () => {
  expect(nearest('prot', ['proxy', 'port'])).toBe('port')
})

test('takes variables that others set in its namespace for what they are', () => {
  expect(
    problems({
      CARILLON_SERVICE_HOST: '10.0.0.7',
      CARILLON_SERVICE_PORT_HTTP: '4000',
      CARILLON_PORT: 'tcp://10.0.0.7:4000',
      CARILLON_PORT_4000_TCP_ADDR: '10.0.0.7',
      CARILLON_TEST_NO_INSTALL: '1',
    }),
  ).toEqual([])
})

describe('secrets', () => {
  test('come from files, without the line end', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'carillon-config-'))
    try {
      const files = { DATABASE_URL: 'postgres://u:p@db/x', REDIS_URL: 'redis://:p@one', CARILLON_JWT_SECRET: secret }
      const env: Record<string, string> = {}
      for (const [name, text] of Object.entries(files)) {
        env[`${name}_FILE`] = join(folder, name)
        await writeFile(join(folder, name), `${text}\n`)
      }
      expect(loadConfig(env)).toMatchObject({
        databaseUrl: files.DATABASE_URL,
        redisUrls: [files.REDIS_URL],
        jwtSecret: secret,
      })
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  test('are refused where they come twice, from nowhere or empty', () => {
    expect(problems({ CARILLON_JWT_SECRET: secret, CARILLON_JWT_SECRET_FILE: '/x' })).toEqual([
      'CARILLON_JWT_SECRET and CARILLON_JWT_SECRET_FILE are both set: set one of them',
    ])
    expect(problems({ DATABASE_URL_FILE: '/nowhere/at/all' })).toEqual([
      'DATABASE_URL_FILE=/nowhere/at/all: must be a file that can be read (ENOENT)',
    ])
    expect(() => loadConfig({ DATABASE_URL_FILE: '/empty' }, { readFile: () => '\n' })).toThrow('the file is empty')
    expect(problems({ CARILLON_BUS_CHANNELS_FILE: '/x' })).toEqual([
      'CARILLON_BUS_CHANNELS_FILE=/x: there is no such setting; did you mean CARILLON_BUS_CHANNELS?',
    ])
  })

  test('are at least 32 bytes long', () => {
    expect(problems({ CARILLON_JWT_SECRET: 'x'.repeat(31) })).toEqual([
      'CARILLON_JWT_SECRET=***: must be 32 bytes at least',
    ])
    expect(loadConfig({ CARILLON_JWT_SECRET: 'é'.repeat(16) }).jwtSecret).toBe('é'.repeat(16))
  })

  test.each<Environment>([
    { DATABASE_URL: 'postgres://user:hunter2/@:db' },
    { DATABASE_URL: 'mysql://user:hunter2@db' },
    { DATABASE_URL: 'host=db password=hunter2' },
    { REDIS_URL: 'redis://:hunter2@one,http://:hunter2@two' },
    { CARILLON_JWT_SECRET: 'hunter2' },
    { CARILLON_JWKS_URL: 'https://user:hunter2@keys/' },
    { CARILLON_ALLOWED_ORIGINS: 'https://user:hunter2@app' },
    { CARILLON_JWT_SECERT: 'hunter2' },
    { CARILLON_DATABASE_URL: 'postgres://user:hunter2@db' },
  ])('never reach an error: %o', (env) => {
    const lines = problems(env)
    expect(lines).toHaveLength(1)
    expect(lines[0]).not.toContain('hunter2')
  })

  test('never reach the description', () => {
    const config = loadConfig({
      DATABASE_URL: 'postgres://user:hunter2@db/carillon?password=hunter2&sslmode=require',
      REDIS_URL: 'redis://:hunter2@one,redis://two',
      CARILLON_JWT_SECRET: `hunter2${secret}`,
    })
    const rows = describeConfig(config)
    expect(JSON.stringify(rows)).not.toContain('hunter2')
    const shown = new Map(rows.map(({ name, value }) => [name, value]))
    expect(shown.get('DATABASE_URL')).toBe('postgres://user:***@db/carillon?password=***&sslmode=require')
    expect(shown.get('REDIS_URL')).toBe('redis://:***@one,redis://two')
    expect(shown.get('CARILLON_JWT_SECRET')).toBe('***')
  })
})

test('describes every setting with its value, default and meaning', () => {
  const rows = describeConfig(loadConfig({ PORT: '80' }))
  expect(rows.map(({ name }) => name)).toEqual(Object.values(settings).map(({ name }) => name))
  expect(rows[1]).toEqual({
    name: 'PORT',
    value: '80',
    default: '4000',
    meaning: 'port to listen on; 0 takes a free one (a whole number from 0 to 65535)',
  })
  for (const row of rows) {
    expect(row.default).not.toBe('')
    expect(row.default).not.toContain('=>')
    expect(row.meaning).not.toBe('')
  }
})

describe('who may reach the server, and how tokens are checked', () => {
  const keySet = {
    CARILLON_JWKS_URL: 'https://sign-in.example.com/keys',
    CARILLON_JWT_ISSUER: 'https://sign-in.example.com',
    CARILLON_JWT_AUDIENCE: 'carillon',
  }

  test.each(['localhost', '127.0.0.1', '127.8.0.1', '::1'])('listens on %s without a secret', (host) => {
    expect(problems({ HOST: host })).toEqual([])
  })

  test.each(['0.0.0.0', '::', '10.0.0.7', '127.example.com', 'carillon'])(
    'refuses to listen on %s without one',
    (host) => {
      expect(problems({ HOST: host })).toEqual([expect.stringMatching(`^HOST=${host}: .*CARILLON_JWT_SECRET`)])
      expect(problems({ HOST: host, CARILLON_JWT_SECRET: secret })).toEqual([])
      expect(problems({ HOST: host, ...keySet })).toEqual([])
    },
  )

  test('takes a secret or a key set, never both', () => {
    expect(problems({ CARILLON_JWT_SECRET: secret, ...keySet })).toEqual([
      'CARILLON_JWT_SECRET and CARILLON_JWKS_URL are both set: set one of them',
    ])
  })

  test('needs issuer and audience with a key set, and there alone', () => {
    const { CARILLON_JWKS_URL, ...claims } = keySet
    expect(problems({ CARILLON_JWKS_URL })).toHaveLength(2)
    expect(problems(claims)).toHaveLength(2)
    expect(problems({ ...keySet, CARILLON_JWT_AUDIENCE: '' })).toEqual([
      'CARILLON_JWT_AUDIENCE is not set: CARILLON_JWKS_URL needs an issuer and an audience',
    ])
  })

  test.each(['ftp://keys', 'keys', 'https://user:word@keys/', 'https://:word@keys/'])(
    'refuses %s as the address of a key set',
    (url) => {
      expect(problems({ ...keySet, CARILLON_JWKS_URL: url })).toHaveLength(1)
    },
  )
})
