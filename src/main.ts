#!/usr/bin/env node
// The command line, and the only file that touches `process`: arguments, environment, output, signals, exit status.
// What `serve` starts is server.ts; read that next.
import { readFileSync } from 'node:fs'
import { inspect, type ParseArgsConfig, parseArgs } from 'node:util'
import { scopes } from './auth.ts'
import { type Config, ConfigError, describeConfig, loadConfig } from './config.ts'
import { messageOf } from './errors.ts'
import { createLogger, type Logger } from './logger.ts'
import { nearest } from './nearest.ts'
import type { Database } from './postgres.ts'
import { isUserId, userIdCharactersMax } from './text.ts'
import { parseTtl, signToken } from './token.ts'

interface Command {
  summary: string
  usage: string
  details: string
  run(args: string[]): Promise<void>
}

const commands = new Map<string, Command>([
  [
    'serve',
    {
      summary: 'run the server (the default)',
      usage: 'carillon [serve]',
      details:
        'Settings come from the environment; `carillon config` shows them. SIGTERM and SIGINT close connections in\n' +
        'turn and end with status 0; a second one ends at once.',
      run: serve,
    },
  ],
  [
    'migrate',
    {
      summary: 'bring the database to the schema of this version',
      usage: 'carillon migrate',
      details: 'Prints the names of the migrations that were carried out. Several at once are safe: one works.',
      run: migrate,
    },
  ],
  [
    'token',
    {
      summary: 'sign a token, for trying out and for services',
      usage: 'carillon token --sub ID [--scope "a b"] [--ttl 1h]',
      details:
        'Prints the token alone. Signs with CARILLON_JWT_SECRET, or in embedded mode with the local secret.\n\n' +
        '  --sub    the user or the service that it is for\n' +
        `  --scope  space-separated: ${scopes.join(', ')}\n` +
        '  --ttl    how long it is valid, such as 30s, 15m, 1h (the default) or 7d; 366d at most',
      run: token,
    },
  ],
  [
    'rotate-epoch',
    {
      summary: 'end all cursors, after restoring a backup or losing commits',
      usage: 'carillon rotate-epoch',
      details: 'Prints the new epoch. Clients then start from what they have not acknowledged.',
      run: rotateEpoch,
    },
  ],
  [
    'config',
    {
      summary: 'print every setting, its value, default and meaning',
      usage: 'carillon config',
      details: 'Secrets are not shown. A setting that does not hold is named on standard error.',
      run: config,
    },
  ],
])

/** What the caller typed is not a use of this program: status 2. */
class UsageError extends Error {
  override readonly name = 'UsageError'
}

/**
 * `npm start` hands a Ctrl-C on to a process that the terminal has sent it to already. Nobody presses twice so soon.
 */
const sameSignalMs = 300

process.exit(await main(process.argv.slice(2)))

async function main(args: string[]): Promise<number> {
  try {
    await run(args)
    return 0
  } catch (error) {
    for (const line of failureLines(error)) process.stderr.write(`carillon: ${line}\n`)
    return error instanceof UsageError ? 2 : 1
  }
}

async function run(args: string[]): Promise<void> {
  const [first = 'serve', ...rest] = args
  if (first === '--help' || first === '-h') return print(overview())
  if (first === '--version') return print(version())
  const [name, options] = first.startsWith('-') ? ['serve', args] : [first, rest]
  const command = commands.get(name)
  if (!command) {
    throw new UsageError(
      `there is no command ${name}; did you mean ${nearest(name, commands.keys())}? See carillon --help`,
    )
  }
  if (options.includes('--help') || options.includes('-h')) {
    return print(`Usage: ${command.usage}\n\n${command.summary}.\n${command.details}`)
  }
  await command.run(options)
}

async function serve(args: string[]): Promise<void> {
  parseOptions(args, {})
  const config = loadConfig(process.env)
  const logger = createLogger({ level: config.logLevel, pretty: process.stdout.isTTY })
  exitOnDefect(logger)
  const stopped = firstSignal(logger)
  const { startServer } = await import('./server.ts')
  const server = await startServer(config, { logger, ...surroundings() })
  await stopped
  await server.close()
}

async function migrate(args: string[]): Promise<void> {
  parseOptions(args, {})
  const names = await withDatabase(async (database) => (await import('./migrate.ts')).migrate(database))
  for (const name of names) print(name)
}

async function rotateEpoch(args: string[]): Promise<void> {
  parseOptions(args, {})
  print(await withDatabase(async (database) => (await import('./notifications/epoch.ts')).rotateEpoch(database)))
}

async function token(args: string[]): Promise<void> {
  const {
    sub,
    scope = '',
    ttl = '1h',
  } = parseOptions(args, {
    sub: { type: 'string' },
    scope: { type: 'string' },
    ttl: { type: 'string' },
  })
  if (sub === undefined) throw new UsageError('token needs --sub, the user or the service that it is for')
  if (!isUserId(sub)) throw new UsageError(`--sub must be a text of 1 to ${userIdCharactersMax} characters`)
  const ttlSeconds = parseTtl(ttl)
  if (ttlSeconds === undefined) throw new UsageError(`--ttl ${ttl}: must be such as 30s, 15m, 1h or 7d; 366d at most`)
  const granted = scope.split(' ').filter((name) => name !== '')
  for (const name of granted) {
    if (!scopes.some((scope) => scope === name)) {
      throw new UsageError(`--scope: there is no scope ${name}; did you mean ${nearest(name, scopes)}?`)
    }
  }
  const secret = await signingSecret(loadConfig(process.env))
  print(await signToken({ secret, sub, scopes: granted, ttlSeconds }))
}

async function config(args: string[]): Promise<void> {
  parseOptions(args, {})
  const rows = describeConfig(loadConfig(process.env))
  const cells = [
    ['SETTING', 'VALUE', 'DEFAULT', 'MEANING'],
    ...rows.map((row) => [row.name, row.value || '-', row.default, row.meaning]),
  ]
  const widths = cells.reduce<number[]>(
    (widths, row) => row.map((cell, i) => Math.max(widths[i] ?? 0, cell.length)),
    [],
  )
  for (const row of cells)
    print(
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
}

/** The secret of the server that runs with the same environment. */
async function signingSecret({ jwtSecret, jwksUrl, databaseUrl, dataDir }: Config): Promise<string> {
  if (jwtSecret !== null) return jwtSecret
  if (jwksUrl !== null) throw new Error('only who holds the private key behind CARILLON_JWKS_URL can sign tokens')
  if (databaseUrl !== null) throw new Error('CARILLON_JWT_SECRET is not set: there is nothing to sign a token with')
  const { cwd, uid } = surroundings()
  if (uid === null) throw new Error('the embedded PostgreSQL does not run on this system: set CARILLON_JWT_SECRET')
  const [{ resolveDataDir }, { localSecret }] = await Promise.all([
    import('./embedded-postgres.ts'),
    import('./local-secret.ts'),
  ])
  const { path } = await resolveDataDir({ dataDir, cwd, uid, logger: createErrorLogger('warn') })
  return localSecret(path)
}

async function withDatabase<Result>(work: (database: Database) => Promise<Result>): Promise<Result> {
  const config = loadConfig(process.env)
  const logger = createErrorLogger(config.logLevel)
  exitOnDefect(logger)
  const { openDatabase } = await import('./database.ts')
  const opened = await openDatabase(config, { logger, ...surroundings() })
  try {
    return await work(opened.database)
  } finally {
    await opened.close()
  }
}

/** For all commands but serve: standard output is for their result alone. */
function createErrorLogger(level: string): Logger {
  return createLogger({ level, pretty: process.stderr.isTTY, destination: process.stderr })
}

function surroundings() {
  return { print, cwd: process.cwd(), uid: process.getuid?.() ?? null, pid: process.pid }
}

/** Also what nobody awaited: Node raises it as an uncaught exception. */
function exitOnDefect(logger: Logger): void {
  process.on('uncaughtException', (error) => {
    logger.fatal({ err: error }, 'an unexpected failure ends the process')
    process.exit(1)
  })
}

/** Resolves at the first SIGTERM or SIGINT; the second ends the process. */
function firstSignal(logger: Logger): Promise<void> {
  return new Promise((resolve) => {
    let firstAt: number | undefined
    const onSignal = (signal: NodeJS.Signals) => {
      if (firstAt === undefined) {
        firstAt = performance.now()
        logger.info({ signal }, 'stopping')
        resolve()
      } else if (performance.now() - firstAt >= sameSignalMs) process.exit(1)
    }
    process.on('SIGTERM', onSignal)
    process.on('SIGINT', onSignal)
  })
}

function parseOptions<Options extends NonNullable<ParseArgsConfig['options']>>(args: string[], options: Options) {
  try {
    return parseArgs({ args, options }).values
  } catch (error) {
    throw error instanceof TypeError ? new UsageError(error.message) : error
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

function version(): string {
  const { version }: { version: string } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  return version
}

function overview(): string {
  const lines = [...commands].map(([name, { summary }]) => `  ${name.padEnd(14)}${summary}`)
  return [
    'Usage: carillon [command]',
    '',
    ...lines,
    '',
    'carillon <command> --help tells more; --version the version.',
  ].join('\n')
}

function failureLines(error: unknown): readonly string[] {
  if (error instanceof ConfigError) return error.problems
  const withStack = /^(debug|trace)$/.test(process.env.LOG_LEVEL ?? '') && !(error instanceof UsageError)
  const stack = withStack ? inspect(error).split('\n') : []
  return [messageOf(error).replace(/\s+/g, ' '), ...stack]
}
