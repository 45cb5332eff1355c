// What `npm start` does on a machine where nothing is configured.
import { decodeJwt } from 'jose'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { type Built, build, type EmptyFolder, emptyFolder, isAlive, type Running, run } from '../support/built.ts'
import { isOpenToNobody, nobody } from '../support/embedded-postgres.ts'
import { request } from '../support/server.ts'

const firstStartMsMax = 10_000
const nextStartMsMax = 3_000

let built: Built
beforeAll(async () => {
  built = await build()
})
afterAll(() => built[Symbol.asyncDispose]())

const running: Running[] = []
afterEach(async () => {
  for (const server of running.splice(0)) await server.end('SIGKILL')
})

test('starts with nothing configured, and what it prints is all that one needs', async () => {
  await using folder = await emptyFolder()
  await firstStart(folder)
})

test.runIf(isOpenToNobody)('does so for an ordinary user too', async () => {
  await using folder = await emptyFolder(nobody)
  await firstStart(folder, nobody)
})

test('keeps what it accepted when it is stopped and when it is killed, and is back within three seconds', async () => {
  await using folder = await emptyFolder()
  const first = await serve(folder)
  await send(first, 'before a stop')
  await first.server.end('SIGTERM')

  const second = await serve(folder)
  expect(await titles(second)).toEqual(['before a stop'])
  await send(second, 'before a kill')
  const pid = await folder.postmasterPid()
  await second.server.end('SIGKILL')
  expect(pid && isAlive(pid)).toBe(true)

  const third = await serve(folder)
  expect(await folder.postmasterPid()).toBe(pid)
  expect(await titles(third)).toEqual(['before a kill', 'before a stop'])
  // A token of before holds: the secret was kept.
  expect(await titles({ ...third, alice: first.alice })).toHaveLength(2)
  expect(await third.server.end('SIGTERM')).toBe(0)
  // Its parent was killed: whoever reaps orphans here may take a moment.
  await vi.waitFor(() => expect(pid && isAlive(pid)).toBe(false), 5_000)
  // The faster of the two: what else this machine does is not the server's.
  expect(Math.min(second.startMs, third.startMs)).toBeLessThan(nextStartMsMax)
})

test('a second server on the same data refuses with one line, and the first goes on', async () => {
  await using folder = await emptyFolder()
  const first = await serve(folder)
  const second = start(folder)
  expect(await second.ended).toBe(1)
  const { pid } = first.server.process
  expect(second.stderr()).toBe(
    `carillon: data directory ${folder.path}/.carillon is in use by another carillon (pid ${pid})\n`,
  )
  await send(first, 'still here')
  expect(await titles(first)).toEqual(['still here'])
  expect(await first.server.end('SIGTERM')).toBe(0)
})

interface Served {
  server: Running
  url: string
  alice: string
  service: string
  startMs: number
}

async function firstStart(folder: EmptyFolder, uid?: number): Promise<void> {
  const served = await serve(folder, uid)
  const { server, url, startMs, alice, service } = served
  expect(startMs).toBeLessThan(firstStartMsMax)
  expect(server.stdout()).toContain(`${url}/graphql`)
  expect((await fetch(`${url}/readyz`)).status).toBe(200)
  expect((await fetch(`${url}/graphql`, { headers: { accept: 'text/html' } })).status).toBe(200)
  await send(served, 'Hello')
  expect(await titles(served)).toEqual(['Hello'])

  const pid = await folder.postmasterPid()
  expect(pid && isAlive(pid)).toBe(true)
  expect(await server.end('SIGTERM')).toBe(0)
  // It has ended, and is still to be seen until its parent's parent, whoever that is here, has reaped it.
  await vi.waitFor(() => expect(pid && isAlive(pid)).toBe(false), 5_000)
  await expect(fetch(`${url}/livez`)).rejects.toThrow()

  // Beside what it prints, it logs: each a line of JSON, with no token in it.
  expect(server.stderr()).toBe('')
  const logged = server
    .stdout()
    .split('\n')
    .filter((line) => line.startsWith('{'))
  expect(logged.length).toBeGreaterThan(1)
  for (const line of logged)
    expect(JSON.parse(line)).toMatchObject({ level: expect.any(Number), msg: expect.any(String) })
  expect(logged.filter((line) => line.includes(alice) || line.includes(service))).toEqual([])
}

function start(folder: EmptyFolder, uid?: number): Running {
  const server = run(built, ['serve'], { cwd: folder.path, env: { PORT: '0', CARILLON_DRAIN_MS: '0' }, uid })
  running.push(server)
  return server
}

/** Once it is ready and has printed what it prints. */
async function serve(folder: EmptyFolder, uid?: number): Promise<Served> {
  const startedAt = performance.now()
  const server = start(folder, uid)
  const [url] = await server.printed(/http:\/\/127\.0\.0\.1:\d+/)
  const tokens = await vi.waitFor(() => {
    const found = server.stdout().match(/[\w-]+\.[\w-]+\.[\w-]{43}(?=\s)/g) ?? []
    expect(found).toHaveLength(2)
    return found
  })
  const startMs = performance.now() - startedAt
  const isAlice = (token: string) => decodeJwt(token).sub === 'alice'
  const [alice = '', service = ''] = [tokens.find(isAlice), tokens.find((token) => !isAlice(token))]
  return { server, url, alice, service, startMs }
}

async function send({ url, service }: Served, title: string): Promise<void> {
  const mutation = `mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { duplicate } }`
  const { data } = await request(url, service, mutation, { input: { userId: 'alice', title } })
  expect(data).toEqual({ sendNotification: { duplicate: false } })
}

async function titles({ url, alice }: Served): Promise<string[]> {
  const { data } = await request<{ history: { nodes: { title: string }[] } }>(
    url,
    alice,
    '{ history { nodes { title } } }',
  )
  return data?.history.nodes.map(({ title }) => title) ?? []
}
