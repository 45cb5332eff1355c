// The program as it is installed: compiled once, then run as a process of its own.
import { execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { decodeJwt, jwtVerify } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { localSecret } from '../src/local-secret.ts'
import { createTestDatabase } from './support/database.ts'

const secret = randomBytes(32).toString('base64url')
let folder: string
let program: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'carillon-main-'))
  // The embedded PostgreSQL of root is another user, who has to get at the data directory.
  await chmod(folder, 0o755)
  program = join(folder, 'dist', 'main.js')
  const compiler = resolve('node_modules/.bin/tsc')
  const compiling = spawn(compiler, ['-p', 'tsconfig.build.json', '--outDir', join(folder, 'dist')], {
    stdio: 'ignore',
  })
  // It writes the program even where types don't fit; the type check tells about those.
  await once(compiling, 'close')
  for (const name of ['node_modules', 'migrations', 'schema', 'package.json']) {
    await symlink(resolve(name), join(folder, name))
  }
})

afterAll(() => rm(folder, { recursive: true, force: true }))

interface Outcome {
  status: number | null
  stdout: string
  stderr: string
}

function start(args: string[], env: Record<string, string> = {}, file = program) {
  const child = spawn(process.execPath, [file, ...args], { env: { PATH: process.env.PATH, ...env }, cwd: folder })
  const outcome: Outcome = { status: null, stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => (outcome.stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (outcome.stderr += text))
  const ended = once(child, 'close').then(([status]): Outcome => ({ ...outcome, status }))
  return { child, ended, outcome }
}

function carillon(args: string[], env?: Record<string, string>): Promise<Outcome> {
  return start(args, env).ended
}

test.each(['serve', 'migrate', 'token', 'rotate-epoch', 'config'])('%s tells how it is used', async (command) => {
  const { status, stdout, stderr } = await carillon([command, '--help'])
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  expect(stdout).toMatch(/^Usage: carillon /)
  expect(stdout).toContain(command)
  expect((await carillon(['--help'])).stdout).toContain(`  ${command}`)
})

test('tells its version', async () => {
  const { version } = JSON.parse(await readFile('package.json', 'utf8'))
  expect(await carillon(['--version'])).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' })
})

test.each([
  [['migrat'], 'there is no command migrat; did you mean migrate? See carillon --help'],
  [['token'], 'token needs --sub, the user or the service that it is for'],
  [['token', '--sub', ''], '--sub must be a text of 1 to 200 characters'],
  [['token', '--sub', 'a', '--ttl', '1y'], '--ttl 1y: must be such as 30s, 15m, 1h or 7d; 366d at most'],
  [['token', '--sub', 'a', '--scope', 'inbox:all'], '--scope: there is no scope inbox:all; did you mean inbox:any?'],
  [['token', '--sub'], "Option '--sub <value>' argument missing"],
  [['--port', '80'], "Unknown option '--port'"],
  [['config', 'more'], "Unexpected argument 'more'"],
])('answers the wrong usage %o with one line and status 2', async (args, message) => {
  const { status, stdout, stderr } = await carillon(args)
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
  expect(stderr).toMatch(/^carillon: .+\n$/)
  expect(stderr).toContain(message)
})

test.each(['serve', 'migrate', 'rotate-epoch', 'config'])('%s stops at a misspelled setting', async (command) => {
  expect(await carillon([command], { CARILLON_DRIAN_MS: '5' })).toEqual({
    status: 1,
    stdout: '',
    stderr: 'carillon: CARILLON_DRIAN_MS=5: there is no such setting; did you mean CARILLON_DRAIN_MS?\n',
  })
})

test('config prints every setting, and no secret', async () => {
  const { status, stdout, stderr } = await carillon(['config'], {
    PORT: '4711',
    CARILLON_JWT_SECRET: secret,
    DATABASE_URL: 'postgres://me:hunter2@db/carillon',
  })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  expect(stdout).toMatch(/^SETTING +VALUE +DEFAULT +MEANING\n/)
  expect(stdout).toMatch(/^PORT +4711 +4000 +port to listen on/m)
  expect(stdout).toMatch(/^CARILLON_DATA_DIR +- +\.carillon/m)
  expect(stdout).toMatch(/^DATABASE_URL +postgres:\/\/me:\*\*\*@db\/carillon /m)
  expect(stdout).not.toContain(secret)
  expect(stdout).not.toContain('hunter2')
})

describe('token', () => {
  test('prints a token alone, signed with the secret that is set', async () => {
    const args = ['token', '--sub', 'svc', '--scope', 'notifications:send  users:read', '--ttl', '2m']
    const { status, stdout, stderr } = await carillon(args, { CARILLON_JWT_SECRET: secret })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/)
    const { payload, protectedHeader } = await jwtVerify(stdout.trim(), Buffer.from(secret))
    expect(protectedHeader.alg).toBe('HS256')
    expect(payload).toEqual({
      sub: 'svc',
      scope: 'notifications:send users:read',
      iat: expect.any(Number),
      exp: Number(payload.iat) + 120,
    })
    expect(Math.abs(Date.now() / 1000 - Number(payload.iat))).toBeLessThan(30)
  })

  test('has no scope and an hour unless told otherwise', async () => {
    const payload = decodeJwt(
      (await carillon(['token', '--sub', 'alice'], { CARILLON_JWT_SECRET: secret })).stdout.trim(),
    )
    expect(payload).toEqual({ sub: 'alice', iat: expect.any(Number), exp: Number(payload.iat) + 3600 })
  })

  test('is signed with the local secret in embedded mode, the same for all who ask first at once', async () => {
    const dataDir = join(folder, 'data')
    const outcomes = await Promise.all(
      ['alice', 'bob', 'carol'].map((sub) => carillon(['token', '--sub', sub], { CARILLON_DATA_DIR: dataDir })),
    )
    const kept = await localSecret(dataDir)
    for (const { status, stdout } of outcomes) {
      expect(status).toBe(0)
      await jwtVerify(stdout.trim(), Buffer.from(kept))
    }
    expect((await stat(join(dataDir, 'jwt-secret'))).mode & 0o777).toBe(0o600)
  })

  test('fails where nothing here can sign', async () => {
    expect(
      await carillon(['token', '--sub', 'alice'], {
        CARILLON_JWKS_URL: 'https://sign-in.example.com/keys',
        CARILLON_JWT_ISSUER: 'https://sign-in.example.com',
        CARILLON_JWT_AUDIENCE: 'carillon',
      }),
    ).toEqual({
      status: 1,
      stdout: '',
      stderr: 'carillon: only who holds the private key behind CARILLON_JWKS_URL can sign tokens\n',
    })
    const { status, stderr } = await carillon(['token', '--sub', 'alice'], { DATABASE_URL: 'postgres://localhost/x' })
    expect(status).toBe(1)
    expect(stderr).toBe('carillon: CARILLON_JWT_SECRET is not set: there is nothing to sign a token with\n')
  })
})

describe('the local secret', () => {
  test('is one for everybody who makes it at the same moment, and leaves nothing else behind', async () => {
    const dataDir = await mkdtemp(join(folder, 'race-'))
    const secrets = await Promise.all(Array.from({ length: 20 }, () => localSecret(dataDir)))
    expect(new Set(secrets).size).toBe(1)
    expect(Buffer.from(secrets[0] ?? '', 'base64url')).toHaveLength(32)
    expect((await promisify(execFile)('ls', ['-A', dataDir])).stdout).toBe('jwt-secret\n')
  })

  test('is never a short one', async () => {
    const dataDir = await mkdtemp(join(folder, 'short-'))
    await writeFile(join(dataDir, 'jwt-secret'), 'short\n')
    await expect(localSecret(dataDir)).rejects.toThrow('holds no secret of 32 bytes')
  })
})

describe('with a database', () => {
  test('migrate prints what it did, and does it once', async () => {
    await using test = await createTestDatabase()
    await test.database.query('drop', 'drop schema public cascade', [])
    await test.database.query('create', 'create schema public', [])
    const env = { DATABASE_URL: test.url }
    const first = await carillon(['migrate'], env)
    expect(first.status).toBe(0)
    expect(first.stdout).toMatch(/^(\d{4}_\w+\n)+$/)
    expect(await carillon(['migrate'], env)).toMatchObject({ status: 0, stdout: '' })
  })

  test('rotate-epoch prints another epoch each time', async () => {
    await using test = await createTestDatabase()
    const [first, second] = [
      await carillon(['rotate-epoch'], { DATABASE_URL: test.url }),
      await carillon(['rotate-epoch'], { DATABASE_URL: test.url }),
    ]
    expect(first).toMatchObject({ status: 0, stdout: expect.stringMatching(/^\S+\n$/) })
    expect(second.stdout).not.toBe(first.stdout)
  })

  test('a failure is one line with status 1, and has its stack from debug on', async () => {
    const env = { DATABASE_URL: 'postgres://me:hunter2@127.0.0.1:9/carillon' }
    const { status, stdout, stderr } = await carillon(['migrate'], { ...env, LOG_LEVEL: 'silent' })
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
    expect(stderr).toMatch(/^carillon: .*ECONNREFUSED.*\n$/)
    const debugged = await carillon(['migrate'], { ...env, LOG_LEVEL: 'debug' })
    expect(debugged.stderr).toMatch(/^carillon: .* at /m)
    expect(debugged.stderr).not.toContain('hunter2')
  })
})

// Here a server stands in that does nothing but take its time, so that signals arrive while it starts and while it stops.
describe('serve', () => {
  let standIn: string

  beforeAll(async () => {
    standIn = join(folder, 'stand-in')
    await promisify(execFile)('cp', ['-r', join(folder, 'dist'), standIn])
    await writeFile(
      join(standIn, 'server.js'),
      `export async function startServer(config, { print }) {
         print('starting')
         if (config.port === 1) throw new Error('port 1\\nis taken')
         if (config.port === 2) setTimeout(() => Promise.reject(new Error('nobody awaits this')))
         await new Promise((resolve) => setTimeout(resolve, config.drainMs))
         print('started')
         const timer = setInterval(() => {}, 1000)
         return { url: '', async close() {
           print('closing')
           await new Promise((resolve) => setTimeout(resolve, config.drainMs))
           clearInterval(timer)
           if (config.port === 3) throw new Error('close failed')
           print('closed')
         } }
       }`,
    )
  })

  function serve(env: Record<string, string> = {}) {
    const server = start([], { LOG_LEVEL: 'fatal', CARILLON_DRAIN_MS: '50', ...env }, join(standIn, 'main.js'))
    const printed = async (line: string) => {
      while (!server.outcome.stdout.includes(line)) await once(server.child.stdout, 'data')
    }
    return { ...server, printed }
  }

  test.each(['SIGTERM', 'SIGINT'] as const)('closes at %s and ends with status 0', async (signal) => {
    const { child, printed, ended } = serve()
    await printed('started')
    child.kill(signal)
    expect(await ended).toEqual({ status: 0, stdout: 'starting\nstarted\nclosing\nclosed\n', stderr: '' })
  })

  test('closes after it has started where the signal came before', async () => {
    const { child, printed, ended } = serve({ CARILLON_DRAIN_MS: '300' })
    await printed('starting')
    child.kill('SIGTERM')
    expect(await ended).toEqual({ status: 0, stdout: 'starting\nstarted\nclosing\nclosed\n', stderr: '' })
  })

  test('takes the same Ctrl-C twice, as npm sends it, for one', async () => {
    const { child, printed, ended } = serve({ CARILLON_DRAIN_MS: '200' })
    await printed('started')
    child.kill('SIGINT')
    await printed('closing')
    child.kill('SIGINT')
    expect(await ended).toMatchObject({ status: 0 })
  })

  test('ends at once, with status 1, at a second signal', async () => {
    const { child, printed, ended } = serve({ CARILLON_DRAIN_MS: '1000' })
    await printed('started')
    child.kill('SIGTERM')
    await printed('closing')
    const again = setInterval(() => child.kill('SIGTERM'), 100)
    const { status, stdout } = await ended
    clearInterval(again)
    expect({ status, stdout }).toEqual({ status: 1, stdout: 'starting\nstarted\nclosing\n' })
  })

  test('ends with one line and status 1 where it can not start or stop', async () => {
    expect(await serve({ PORT: '1' }).ended).toMatchObject({ status: 1, stderr: 'carillon: port 1 is taken\n' })
    const { child, printed, ended } = serve({ PORT: '3' })
    await printed('started')
    child.kill('SIGTERM')
    expect(await ended).toMatchObject({ status: 1, stderr: 'carillon: close failed\n' })
  })

  test('logs what nobody awaited and ends with status 1', async () => {
    const { status, stdout } = await serve({ PORT: '2', CARILLON_DRAIN_MS: '5000' }).ended
    expect(status).toBe(1)
    const { level, err } = JSON.parse(stdout.split('\n').find((line) => line.startsWith('{')) ?? '{}')
    expect({ level, message: err.message }).toEqual({ level: 60, message: 'nobody awaits this' })
  })
})
