// Every snippet of the README, run against a server as it stands there, but for the server's address.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { createReleases } from '../../src/releases.ts'
import { startProxy } from '../support/proxy.ts'
import { type Fleet, jwtSecret, request, startFleet } from '../support/server.ts'
import { blocksOf, readDocument } from './markdown.ts'

const blocks = new Map(blocksOf(readDocument('README.md')).map((block) => [block.title, block.text]))
const releases = createReleases()
/** What the README tells its readers to export. */
const environment: Record<string, string> = { PATH: process.env.PATH ?? '', CARILLON_JWT_SECRET: jwtSecret }
let fleet: Fleet

/** Of each snippet, by its title: how it is run, and what it must do. */
const checks: Record<string, () => Promise<void>> = {
  start: () => runsScripts('start'),
  test: () => runsScripts('test'),
  development: () => runsScripts('development'),

  async tokens() {
    for (const token of [environment.ALICE, environment.SERVICE, environment.NEWS])
      expect(token).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/)
    const mine = await request<{ inbox: { userId: string } }>(fleet.url, alice(), '{ inbox { userId } }')
    expect(mine.data?.inbox.userId).toBe('alice')
  },

  async 'receive.graphql'() {
    await send('for GraphiQL')
    const [event] = await firstEvents(snippet('receive.graphql'))
    expect(event?.notifications).toMatchObject({ title: 'for GraphiQL', cursor: expect.any(String) })
  },

  async 'send.graphql'() {
    for (const duplicate of [false, true]) {
      const { data, errors } = await request(fleet.url, environment.SERVICE ?? '', snippet('send.graphql'))
      expect(errors).toBeUndefined()
      expect(data).toMatchObject({ sendNotification: { duplicate, notification: { seq: expect.any(Number) } } })
    }
  },

  async send() {
    const id = expect.any(String)
    expect(JSON.parse(await shell(snippet('send')))).toEqual({ data: { sendNotification: { notification: { id } } } })
    expect((await titles())[0]).toBe('Hello')
  },

  async history() {
    await send('in history')
    const { data } = JSON.parse(await shell(snippet('history')))
    expect(data.inbox.unreadCount).toBeGreaterThan(0)
    expect(data.history.nodes[0]).toMatchObject({ title: 'in history', readAt: null })
  },

  async receive() {
    await send('over SSE')
    const curl = start('bash', ['-c', atFleet(snippet('receive'))])
    await vi.waitFor(
      () => expect(curl.output()).toMatch(/^id: [\w-]+\nevent: next\ndata: .*"title":"over SSE"/m),
      10_000,
    )
    await curl.stop()
  },

  async 'users.graphql'() {
    const { data, errors } = await request(fleet.url, environment.NEWS ?? '', snippet('users.graphql'))
    expect(errors).toBeUndefined()
    expect(data).toEqual({ upsertUsers: 2, upsertTemplate: { key: 'news' } })
  },

  async 'broadcast.graphql'() {
    const { data, errors } = await request(fleet.url, environment.NEWS ?? '', snippet('broadcast.graphql'))
    expect(errors).toBeUndefined()
    expect(data).toMatchObject({ broadcastNotification: { total: 1 } })
    await vi.waitFor(async () => expect((await titles())[0]).toBe('Olá Alice, chegou 2.0'), 10_000)
  },

  async 'progress.graphql'() {
    const again = await request<{ broadcastNotification: { id: string } }>(
      fleet.url,
      environment.NEWS ?? '',
      snippet('broadcast.graphql'),
    )
    const variables = { id: again.data?.broadcastNotification.id }
    const states = await firstEvents(snippet('progress.graphql'), fleet.url, environment.NEWS, variables)
    expect(states).toEqual([
      { broadcastProgress: { status: 'COMPLETED', progress: 1, total: 1, sent: 1, failed: 0, skipped: 0 } },
    ])
  },

  'examples/socket.mjs': () => resumes('examples/graphql-ws.mjs'),
  'examples/graphql-ws.mjs': () => receives('examples/graphql-ws.mjs'),
  'examples/apollo.mjs': () => receives('examples/apollo.mjs'),
  'examples/urql.mjs': () => receives('examples/urql.mjs'),

  async 'acknowledge.graphql'() {
    const id = await send('to be read')
    const { data, errors } = await request(fleet.url, alice(), snippet('acknowledge.graphql'), { id })
    expect(errors).toBeUndefined()
    expect(data).toMatchObject({ markRead: { count: 1, inbox: { unreadCount: expect.any(Number) } } })
  },

  async 'two-instances'() {
    const names = [...snippet('two-instances').matchAll(/^export (\w+)=(.+)$/gm)].map(([, name]) => name)
    expect(names).toEqual(['HOST', 'DATABASE_URL', 'REDIS_URL', 'CARILLON_JWT_SECRET'])
    // With nothing but these set, which startFleet does, two instances are one.
    const other = await fleet.start()
    const receiving = firstEvents('subscription { notifications { title } }', other.url)
    await send('from one to the other')
    expect((await receiving)[0]?.notifications.title).toBe('from one to the other')
  },
}

beforeAll(async () => {
  fleet = await startFleet()
  releases.push(() => fleet[Symbol.asyncDispose]())
  const folder = await compiled()
  const names = ['ALICE', 'SERVICE', 'NEWS']
  const text = await shell(`${snippet('tokens')}\necho $ALICE\necho $SERVICE\necho $NEWS`, { cwd: folder })
  for (const [index, name] of names.entries()) environment[name] = text.trim().split('\n')[index] ?? ''
})
afterAll(() => releases.run())

test('each snippet has a check, and each check a snippet', () => {
  expect(Object.keys(checks).sort()).toEqual([...blocks.keys()].sort())
  expect(blocksOf(readDocument('README.md')).length).toBe(blocks.size)
})

describe('runs', () => {
  test.each(Object.entries(checks))('%s', async (_, check) => {
    await acknowledgeAll()
    await check()
  })
})

test('the snippets that are examples are the files', async () => {
  const examples = [...blocks].filter(([title]) => title.startsWith('examples/'))
  expect(examples.length).toBeGreaterThan(0)
  for (const [path, text] of examples) expect(text, path).toBe(await readFile(path, 'utf8'))
})

test('the example over SSE receives, and resumes', async () => {
  await acknowledgeAll()
  await resumes('examples/sse.mjs')
})

/** Prints what arrives. */
async function receives(path: string): Promise<void> {
  await send('before')
  const example = start(process.execPath, [path], { SERVER: fleet.url })
  await vi.waitFor(() => expect(example.output()).toBe('before\n'), 15_000)
  await send('live')
  await vi.waitFor(() => expect(example.output()).toBe('before\nlive\n'), 15_000)
  await example.stop()
}

/** Prints each once, though nothing is acknowledged and the connection breaks. */
async function resumes(path: string): Promise<void> {
  await using proxy = await startProxy({ targets: [fleet.url] })
  await send('first')
  const example = start(process.execPath, [path], { SERVER: proxy.url })
  await vi.waitFor(() => expect(example.output()).toBe('first\n'), 15_000)
  proxy.cut()
  await send('second')
  await vi.waitFor(() => expect(example.output()).toBe('first\nsecond\n'), 15_000)
  await send('third')
  await vi.waitFor(() => expect(example.output()).toBe('first\nsecond\nthird\n'), 15_000)
  await example.stop()
}

/** The commands are scripts that there are. */
async function runsScripts(title: string): Promise<void> {
  const { scripts } = JSON.parse(await readFile('package.json', 'utf8'))
  const named = [...snippet(title).matchAll(/npm (?:run )?(\w+)/g)].map(([, name = '']) => name)
  const own = named.filter((name) => name !== 'ci')
  expect(own.length).toBeGreaterThan(0)
  for (const name of own) expect(scripts).toHaveProperty(name)
}

/** A folder with the program as `npm ci` leaves it. */
async function compiled(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'carillon-readme-'))
  releases.push(() => rm(folder, { recursive: true, force: true }))
  const compiler = spawn('node_modules/.bin/tsc', ['-p', 'tsconfig.build.json', '--outDir', join(folder, 'dist')])
  await once(compiler, 'close')
  for (const name of ['node_modules', 'package.json']) await symlink(resolve(name), join(folder, name))
  return folder
}

function snippet(title: string): string {
  const text = blocks.get(title)
  if (text === undefined) throw new Error(`the README has no snippet ${title}`)
  return text
}

const alice = () => environment.ALICE ?? ''
const atFleet = (text: string) => text.replaceAll('http://localhost:4000', fleet.url)

async function send(title: string): Promise<string> {
  const mutation = `mutation ($input: SendNotificationInput!) {
    sendNotification(input: $input) { notification { id } }
  }`
  const { data } = await request<{ sendNotification: { notification: { id: string } } }>(
    fleet.url,
    environment.SERVICE ?? '',
    mutation,
    { input: { userId: 'alice', title } },
  )
  return data?.sendNotification.notification.id ?? ''
}

async function titles(): Promise<string[]> {
  const query = '{ history { nodes { title } } }'
  const { data } = await request<{ history: { nodes: { title: string }[] } }>(fleet.url, alice(), query)
  return (data?.history.nodes ?? []).map(({ title }) => title)
}

/** So that a subscription without a cursor begins with what a check has sent itself. */
async function acknowledgeAll(): Promise<void> {
  const { data } = await request<{ inbox: { headCursor: string } }>(fleet.url, alice(), '{ inbox { headCursor } }')
  const mutation = 'mutation ($upTo: String!) { markDelivered(upTo: $upTo) { count } }'
  await request(fleet.url, alice(), mutation, { upTo: data?.inbox.headCursor })
}

interface Event {
  notifications: { title: string }
}

/** What the first event of a subscription holds. */
async function firstEvents(query: string, url = fleet.url, token = alice(), variables = {}): Promise<Event[]> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, accept: 'text/event-stream', 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
    signal: AbortSignal.timeout(10_000),
  })
  let text = ''
  for await (const chunk of response.body ?? []) {
    text += Buffer.from(chunk).toString()
    const events = [...text.matchAll(/^data: (.+)$/gm)].map(([, json = '']) => JSON.parse(json).data)
    if (events.length > 0) return events
  }
  return []
}

interface Running {
  output(): string
  stop(): Promise<void>
}

/** A program of the README; ended with the tests at the latest. */
function start(
  program: string,
  args: string[],
  env: Record<string, string> = {},
  cwd = '.',
): Running & { child: ChildProcess } {
  const child = spawn(program, args, { env: { ...environment, ...env }, cwd, detached: true })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  const ended = once(child, 'close')
  const stop = async () => {
    // The group: a shell has children of its own.
    if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) process.kill(-child.pid)
    await ended
  }
  releases.push(stop)
  return { child, output: () => output, stop }
}

/** Runs it to its end. Fails where it fails. */
async function shell(text: string, { cwd = '.' }: { cwd?: string } = {}): Promise<string> {
  const { child, output } = start('bash', ['-e', '-c', atFleet(text)], {}, cwd)
  await once(child, 'close')
  expect(child.exitCode, text).toBe(0)
  return output()
}
