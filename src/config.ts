// The configuration: read from the environment once, checked as a whole, frozen. Whatever is wrong is told at once, a
// line each, and no line shows a secret. The table of settings, with defaults and bounds, is settings.ts.
import { readFileSync } from 'node:fs'
import { isIPv4 } from 'node:net'
import { editDistance, nearest } from './nearest.ts'
import { type Environment, type Setting, type SettingValue, settings } from './settings.ts'

/** Every setting with its value. Deeply frozen. */
export type Config = {
  readonly [Key in keyof typeof settings]: (typeof settings)[Key] extends Setting<infer Value> ? Value : never
}

/** The configuration does not hold: `problems` has a line for each thing to change. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(problems.join('\n'))
    this.problems = problems
  }
}

interface LoadOptions {
  /** Reads the file that a `<name>_FILE` names. */
  readFile?: (path: string) => string
}

const prefix = 'CARILLON_'
/** Edits beside the prefix, such as a missing underscore. */
const prefixTyposMax = 1
const hidden = '***'
const table = Object.entries<Setting<SettingValue>>(settings)
const knownNames = new Set(table.flatMap(([, { name, secret }]) => (secret ? [name, `${name}_FILE`] : [name])))
/** Read by this project's tests, which hand their environment on to the servers that they start. */
const foreignNames = new Set(['CARILLON_TEST_NO_INSTALL'])

/** Fails with a ConfigError. An empty variable counts as not set. */
export function loadConfig(env: Environment, { readFile = readText }: LoadOptions = {}): Config {
  const problems = unknownNames(env)
  const values: Record<string, SettingValue> = {}
  for (const [key, setting] of table) {
    try {
      values[key] = Object.freeze(readSetting(setting, env, readFile))
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      problems.push(...error.problems)
    }
  }
  if (problems.length > 0) throw new ConfigError(problems)
  // Every key of the table has just been given what its own entry parsed; the type is derived from the same entries.
  const config = Object.freeze(values) as Config
  const conflicts = checkTogether(config)
  if (conflicts.length > 0) throw new ConfigError(conflicts)
  return config
}

function readSetting<Value extends SettingValue>(
  setting: Setting<Value>,
  env: Environment,
  readFile: (path: string) => string,
): Value {
  const { name, fallback, allowed, secret } = setting
  const text = (secret && readSecretFile(name, env, readFile)) || env[name] || ''
  if (text === '') return typeof fallback === 'function' ? fallback(env) : fallback
  const value = setting.parse(text)
  if (value === undefined) throw new ConfigError([`${name}=${secret ? hidden : showable(text)}: must be ${allowed}`])
  return value
}

/** What the file that `<name>_FILE` names holds, without the line end that editors leave; undefined without one. */
function readSecretFile(name: string, env: Environment, readFile: (path: string) => string): string | undefined {
  const path = env[`${name}_FILE`]
  if (!path) return undefined
  if (env[name]) throw new ConfigError([`${name} and ${name}_FILE are both set: set one of them`])
  let text: string
  try {
    text = readFile(path).replace(/[\r\n]+$/, '')
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? String(error.code) : String(error)
    throw new ConfigError([`${name}_FILE=${showable(path)}: must be a file that can be read (${reason})`])
  }
  if (text === '') throw new ConfigError([`${name}_FILE=${showable(path)}: the file is empty`])
  return text
}

function readText(path: string): string {
  return readFileSync(path, 'utf8')
}

/** A misspelled name would otherwise leave its default in force, unseen. */
function unknownNames(env: Environment): string[] {
  const withoutPrefix = (name: string) => name.replace(prefix, '')
  const ownNames = [...knownNames].filter((name) => name.startsWith(prefix))
  const bareNames = [...knownNames].filter((name) => !name.startsWith(prefix))
  const problems: string[] = []
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith(prefix) || !value || knownNames.has(name) || foreignNames.has(name)) continue
    if (isServiceLink(name, value)) continue
    // Those without the prefix are short, and near to anything: only where the prefix is what is wrong.
    const bare = withoutPrefix(name)
    const nearestBare = nearest(bare, bareNames)
    const known = editDistance(bare, nearestBare) <= prefixTyposMax ? nearestBare : nearest(name, ownNames)
    const mayHide = /SECRET|PASS|TOKEN|KEY|CREDENTIAL|URL/.test(name + known)
    problems.push(`${name}=${mayHide ? hidden : showable(value)}: there is no such setting; did you mean ${known}?`)
  }
  return problems
}

/** Kubernetes sets such variables in every pod beside a Service that is called `carillon`. */
function isServiceLink(name: string, value: string): boolean {
  return /_SERVICE_(HOST|PORT)(_|$)|_PORT_\d+_(TCP|UDP|SCTP)(_|$)/.test(name) || /^(tcp|udp|sctp):\/\//.test(value)
}

/** What each setting allows by itself, but not beside the others. */
function checkTogether(config: Config): string[] {
  const { host, jwtSecret, jwksUrl, jwtIssuer, jwtAudience } = config
  const problems: string[] = []
  if (jwtSecret !== null && jwksUrl !== null) {
    problems.push('CARILLON_JWT_SECRET and CARILLON_JWKS_URL are both set: set one of them')
  }
  for (const [name, value] of [
    ['CARILLON_JWT_ISSUER', jwtIssuer],
    ['CARILLON_JWT_AUDIENCE', jwtAudience],
  ]) {
    if (jwksUrl !== null && value === null) {
      problems.push(`${name} is not set: CARILLON_JWKS_URL needs an issuer and an audience`)
    }
    if (jwksUrl === null && value !== null) problems.push(`${name} is set without CARILLON_JWKS_URL: set both`)
  }
  if (!isLoopback(host) && jwtSecret === null && jwksUrl === null) {
    problems.push(
      `HOST=${host}: an address that others can reach needs CARILLON_JWT_SECRET (openssl rand -base64 32) or CARILLON_JWKS_URL`,
    )
  }
  return problems
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'))
}

export interface SettingRow {
  name: string
  value: string
  default: string
  meaning: string
}

/** Every setting as `carillon config` prints it: secrets, and passwords in addresses, are not shown. */
export function describeConfig(config: Config): SettingRow[] {
  const values = new Map<string, SettingValue>(Object.entries(config))
  return table.map(([key, setting]) => ({
    name: setting.name,
    value: show(setting, values.get(key) ?? null),
    default: setting.fallbackText ?? String(setting.fallback),
    meaning: `${setting.meaning} (${setting.allowed})`,
  }))
}

function show({ secret }: Setting<SettingValue>, value: SettingValue): string {
  if (value === null) return ''
  if (secret === 'whole') return hidden
  if (secret === 'password') return [value].flat().map(String).map(hidePasswords).join(',')
  return String(value)
}

/** The parameters too: both drivers take a password from there. */
function hidePasswords(address: string): string {
  const url = new URL(address)
  if (url.password !== '') url.password = hidden
  for (const name of url.searchParams.keys()) {
    if (/pass/i.test(name)) url.searchParams.set(name, hidden)
  }
  return url.href
}

/** On one line, and without what stands before the host of an address: a password may have got where none belongs. */
function showable(text: string): string {
  return text.replace(/\s+/g, ' ').replace(/\/\/\S*@/, `//${hidden}@`)
}
