import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { resolveDataDir } from '../src/embedded-postgres.ts'
import {
  buildProgram,
  end,
  freshDataDir,
  isGroupLeader,
  isOpenToNobody,
  isRoot,
  keep,
  kept,
  logger,
  nobody,
  postmasterPid,
  programsWithoutLinks,
  query,
  uid,
} from './support/embedded-postgres.ts'

let program: AsyncDisposable
beforeAll(async () => {
  program = await buildProgram()
})
afterAll(() => program[Symbol.asyncDispose]())

test('starts, and keeps what it holds over a stop', async () => {
  await using dir = await freshDataDir()
  const startedAt = performance.now()
  const first = await dir.embed({ durable: true })
  const firstMs = performance.now() - startedAt
  expect(first.adopted).toBe(false)
  await query(first.url, keep('ü'))
  await first.stop()
  await expect(query(first.url, 'select')).rejects.toThrow('ECONNREFUSED')

  const againAt = performance.now()
  const second = await dir.embed({ durable: true })
  const againMs = performance.now() - againAt
  expect(second.adopted).toBe(false)
  expect(await query(second.url, kept)).toEqual([{ text: 'ü' }])
  await second.stop()
  expect(firstMs).toBeLessThan(10_000)
  expect(againMs).toBeLessThan(5_000)
  console.info(`first start ${Math.round(firstMs)} ms, next ${Math.round(againMs)} ms`)
})

test('lets nobody in without the password, and listens on the loopback alone', async () => {
  await using dir = await freshDataDir()
  const { url, stop } = await dir.embed()
  const wrong = new URL(url)
  wrong.password = 'wrong'
  await expect(query(wrong.href, 'select')).rejects.toThrow('password authentication failed')
  expect(
    await query(url, "select current_setting('listen_addresses') || current_setting('unix_socket_directories') as at"),
  ).toEqual([{ at: '127.0.0.1' }])
  expect((await stat(join(dir.path, 'postgres/password'))).mode & 0o777).toBe(0o600)
  await stop()
})

test('adopts, with its data, the PostgreSQL that a killed server left running', async () => {
  await using dir = await freshDataDir()
  const first = await dir.launch()
  await query(first.url, keep('adopted'))
  const pid = await postmasterPid(dir.path)
  await end(first, 'SIGKILL')

  const second = await dir.launch()
  expect(second).toMatchObject({ adopted: true, url: first.url })
  expect(await postmasterPid(dir.path)).toBe(pid)
  expect(await query(second.url, kept)).toEqual([{ text: 'adopted' }])
  await end(second, 'SIGTERM')
  await expect(postmasterPid(dir.path)).rejects.toThrow('ENOENT')
})

test('recovers what was committed when the server and PostgreSQL are both killed', async () => {
  await using dir = await freshDataDir()
  const first = await dir.launch()
  await query(first.url, keep('recovered'))
  await end(first, 'SIGKILL')
  process.kill(await postmasterPid(dir.path), 'SIGKILL')

  const second = await dir.launch()
  expect(second.adopted).toBe(false)
  expect(await query(second.url, kept)).toEqual([{ text: 'recovered' }])
  await end(second, 'SIGTERM')
})

test('refuses a second server on the same data directory, and the first goes on', async () => {
  await using dir = await freshDataDir()
  const first = await dir.launch()
  const second = await dir.launch()
  expect(second.error).toBe(`data directory ${dir.path} is in use by another carillon (pid ${first.process.pid})`)
  expect(await query(first.url, 'select 1 as one')).toEqual([{ one: 1 }])
  await end(first, 'SIGTERM')
})

test('of several that start at once on an empty folder one runs, and the others are refused', async () => {
  await using dir = await freshDataDir()
  const outcomes = await Promise.all([1, 2, 3].map(() => dir.launch()))
  const winners = outcomes.filter((outcome) => outcome.error === undefined)
  expect(winners).toHaveLength(1)
  const [winner] = winners
  if (!winner) throw new Error('nobody won')
  for (const { error } of outcomes.filter((outcome) => outcome !== winner)) {
    expect(error).toBe(`data directory ${dir.path} is in use by another carillon (pid ${winner.process.pid})`)
  }
  await query(winner.url, keep('intact'))
  await end(winner, 'SIGTERM')
  const next = await dir.embed()
  expect(await query(next.url, kept)).toEqual([{ text: 'intact' }])
  await next.stop()
  expect((await readdir(dir.path)).filter((name) => name.startsWith('.unfinished'))).toEqual([])
})

test('waits for a PostgreSQL that is shutting down, and starts it again', async () => {
  await using dir = await freshDataDir()
  const first = await dir.embed()
  await query(first.url, keep('waited'))
  const [, second] = await Promise.all([first.stop(), dir.embed({ pid: 1 })])
  expect(await query(second.url, kept)).toEqual([{ text: 'waited' }])
  await second.stop()
})

test('starts PostgreSQL again, on the same port, when it is killed', async () => {
  await using dir = await freshDataDir()
  const { url, stop } = await dir.embed()
  await query(url, keep('back'))
  const pid = await postmasterPid(dir.path)
  process.kill(pid, 'SIGKILL')
  await vi.waitFor(async () => expect(await query(url, kept)).toEqual([{ text: 'back' }]), 10_000)
  expect(await postmasterPid(dir.path)).not.toBe(pid)
  await stop()
  await expect(postmasterPid(dir.path)).rejects.toThrow('ENOENT')
})

test('takes the lock again when its session is ended', async () => {
  await using dir = await freshDataDir()
  const { url, stop } = await dir.embed()
  const holders = "select pid from pg_locks where locktype = 'advisory' and granted"
  const [before] = await query(url, holders)
  await query(url, `select pg_terminate_backend(${before?.pid})`)
  await vi.waitFor(async () => {
    const rows = await query(url, holders)
    expect(rows).toHaveLength(1)
    expect(rows).not.toEqual([before])
  }, 10_000)
  await expect(dir.embed()).rejects.toThrow('in use by another carillon')
  await stop()
})

test('stops while PostgreSQL is being started again, and leaves nothing running', async () => {
  await using dir = await freshDataDir()
  const { stop } = await dir.embed()
  process.kill(await postmasterPid(dir.path), 'SIGKILL')
  await stop()
  const next = await dir.embed()
  expect(next.adopted).toBe(false)
  await next.stop()
})

/** Some kernels write the memory of who crashed to disk first, which takes longer than anything else here. */
const coreDumpMsMax = 90_000

test.each([0, 5, 10, 20])(
  'stops %i ms after a backend crashed, and leaves nothing running',
  async (ms) => {
    await using dir = await freshDataDir()
    const { url, stop } = await dir.embed()
    const [holder] = await query(url, "select pid from pg_locks where locktype = 'advisory' and granted")
    process.kill(Number(holder?.pid), 'SIGSEGV')
    await new Promise((resolve) => setTimeout(resolve, ms))
    await stop()
    await expect(postmasterPid(dir.path)).rejects.toThrow('ENOENT')
  },
  coreDumpMsMax,
)

test('a Ctrl-C in the terminal does not reach PostgreSQL before the server ends it', async () => {
  await using dir = await freshDataDir()
  const { stop } = await dir.embed()
  expect(isGroupLeader(await postmasterPid(dir.path))).toBe(true)
  await stop()
})

test('a cluster that was half made when the server was killed is no obstacle', async () => {
  await using dir = await freshDataDir()
  const child = dir.run()
  const exited = once(child, 'exit')
  const made = async () => (await readdir(dir.path)).filter((name) => name.startsWith('.unfinished'))
  await vi.waitFor(async () => expect((await made()).length).toBe(1), { timeout: 10_000, interval: 5 })
  child.kill('SIGKILL')
  await exited
  expect(await readdir(dir.path)).not.toContain('postgres')

  const { stop } = await dir.embed()
  expect(await made()).toEqual([])
  await stop()
})

test('is not fooled by a stale postmaster.pid that names another program', async () => {
  await using dir = await freshDataDir()
  const first = await dir.embed()
  const { uid: owner } = await stat(join(dir.path, 'postgres/cluster'))
  await first.stop()
  const other = spawn('/bin/sleep', ['60'], { cwd: '/', ...(isRoot && { uid: owner }) })
  const lines = [other.pid, join(dir.path, 'postgres/cluster'), 1, 1, '', '127.0.0.1', '', 'ready']
  await writeFile(join(dir.path, 'postgres/cluster/postmaster.pid'), `${lines.join('\n')}\n`)
  try {
    const second = await dir.embed()
    expect(second.adopted).toBe(false)
    await second.stop()
    expect(other.exitCode).toBe(null)
  } finally {
    other.kill()
  }
})

test('says in one line why PostgreSQL does not start', async () => {
  await using dir = await freshDataDir()
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const address = taken.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  await expect(dir.embed({ port: address.port })).rejects.toThrow(
    /^PostgreSQL did not start: .*TCP\/IP.*postgres\.log\)$/,
  )
  taken.close()
  const { url, stop } = await dir.embed({ port: address.port })
  expect(new URL(url).port).toBe(String(address.port))
  await stop()
})

test('makes the library links that the install script would have made', async () => {
  await using dir = await freshDataDir()
  const programs = await programsWithoutLinks(dir.folder)
  const { stop } = await dir.embed({ programs })
  expect(await readdir(join(programs, 'lib'))).toEqual(expect.arrayContaining(['libpq.so.5']))
  expect((await readdir(dir.path)).filter((name) => name.startsWith('postgresql-'))).toEqual([])
  await stop()
})

test('fails with one line where the data directory can not be made', async () => {
  await using dir = await freshDataDir()
  await writeFile(join(dir.folder, 'file'), '')
  await expect(dir.embed({ dataDir: join(dir.folder, 'file/data') })).rejects.toThrow(/file\/data/)
})

describe.runIf(isRoot)('as root', () => {
  test('runs PostgreSQL as another user', async () => {
    await using dir = await freshDataDir()
    const { stop } = await dir.embed()
    expect((await stat(join(dir.path, 'postgres/cluster/postmaster.pid'))).uid).toBeGreaterThan(0)
    await stop()
  })

  test('opens an empty data directory of its own to that user, and no other', async () => {
    await using dir = await freshDataDir()
    await mkdir(dir.path, { mode: 0o700 })
    const { stop } = await dir.embed()
    await stop()
    const other = join(dir.folder, 'other')
    await mkdir(other, { mode: 0o700 })
    await writeFile(join(other, 'diary'), '')
    const unreachable =
      /^the data directory .*\/other is out of reach for the user \w+, which PostgreSQL runs as: set CARILLON_DATA_DIR to another$/
    await expect(dir.embed({ dataDir: other })).rejects.toThrow(unreachable)
    expect((await stat(other)).mode & 0o777).toBe(0o700)
  })

  test('where that user can not reach the working directory, the data is in the folder of the system', async () => {
    await using dir = await freshDataDir()
    const home = join(dir.folder, 'home')
    await mkdir(home, { mode: 0o700 })
    const options = { cwd: home, uid, logger, systemDataDir: join(dir.folder, 'system') }
    expect((await resolveDataDir({ ...options, dataDir: null })).path).toBe(join(dir.folder, 'system'))
    expect(await readdir(home)).toEqual([])
    await expect(resolveDataDir({ ...options, dataDir: '.carillon' })).rejects.toThrow('is out of reach')
    expect((await resolveDataDir({ ...options, dataDir: null, cwd: dir.folder })).path).toBe(
      join(dir.folder, '.carillon'),
    )
  })

  test('copies programs that are out of reach for that user', async () => {
    await using dir = await freshDataDir()
    const home = join(dir.folder, 'home')
    await mkdir(home, { mode: 0o700 })
    const { stop, url } = await dir.embed({ programs: await programsWithoutLinks(home) })
    expect((await readdir(dir.path)).filter((name) => name.startsWith('postgresql-'))).toHaveLength(1)
    expect(await query(url, 'select 1 as one')).toEqual([{ one: 1 }])
    await stop()
  })

  test.runIf(isOpenToNobody)('an ordinary user runs it too, from programs that it may not complete', async () => {
    await using dir = await freshDataDir(nobody)
    const programs = await programsWithoutLinks(dir.folder)
    const first = await dir.launch({ programs })
    expect(first.error).toBeUndefined()
    await query(first.url, keep('ordinary'))
    expect((await stat(join(dir.path, 'postgres/cluster'))).uid).toBe(nobody)
    await end(first, 'SIGKILL')
    const second = await dir.launch({ programs })
    expect(second.adopted).toBe(true)
    expect(await query(second.url, kept)).toEqual([{ text: 'ordinary' }])
    await end(second, 'SIGTERM')
    expect(await readdir(join(programs, 'lib'))).not.toContain('libpq.so.5')
  })
})
