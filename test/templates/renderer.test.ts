// What the renderer makes of templates, and what bad ones can't do to the process that asks it.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { bodyCharactersMax, titleCharactersMax } from '../../src/content-flaw.mjs'
import { isUuid } from '../../src/notifications/uuid.ts'
import { createRenderer, type Renderer, type RenderRequest } from '../../src/templates/renderer.ts'
import type { Translation } from '../../src/templates/template.ts'
import { build, isAlive } from '../support/built.ts'

const renderer = createRenderer()
afterAll(() => renderer.close())

interface TestUser {
  id: string
  name?: string | null
  locale?: string | null
  timeZone?: string | null
  attributes?: Record<string, unknown>
}

let templates = 0

function requestOf(texts: Partial<Translation>[], users: TestUser[] = [{ id: 'alice' }], variables = '{}') {
  const translations = texts.map((text) => ({ locale: 'en', title: 'title', body: null, url: null, ...text }))
  return {
    cacheKey: `template ${templates++}`,
    source: { template: { defaultLocale: 'en', translations } },
    variables,
    users: usersText(users),
    chunkItemsMax: 100,
    chunkCharactersMax: 100_000,
  } satisfies RenderRequest
}

function usersText(users: TestUser[]): string {
  return JSON.stringify(users.map((user) => ({ name: null, locale: null, timeZone: null, attributes: {}, ...user })))
}

async function render(request: RenderRequest, by: Renderer = renderer) {
  const { chunks, firstFailure, tooSlow } = await by.render(request)
  const items = chunks.flatMap(({ items }): { i: string; u: string; t: string; b: string | null; l: string | null }[] =>
    JSON.parse(items),
  )
  return { titles: Object.fromEntries(items.map(({ u, t }) => [u, t])), items, firstFailure, tooSlow, chunks }
}

/** Of one title for alice. */
async function titleOf(title: string, { variables, ...user }: Omit<TestUser, 'id'> & { variables?: string } = {}) {
  const { titles, firstFailure } = await render(requestOf([{ title }], [{ id: 'alice', ...user }], variables))
  return titles.alice ?? firstFailure
}

/** Grows to 2 to the power of 60 pieces. */
const hangs = '{% assign a = "x" | split: "," %}{% for i in (1..60) %}{% assign a = a | push: a %}{% endfor %}{{ a }}'
/** Likewise, until its pieces take more memory than there is. */
const hoards = `{% assign a = "${'x'.repeat(1_000)}" | split: "," %}{% for i in (1..60) %}{% assign a = a | push: a %}{% endfor %}{{ a | upcase }}`

describe('what is rendered', () => {
  test('is title, body and url, each with an id of its own', async () => {
    const request = requestOf(
      [{ title: 'Hello {{ userName }}', body: '{{ variables.order }}', url: '/orders/{{ variables.order }}' }],
      [{ id: 'alice', name: 'Alice' }, { id: 'b"ob' }],
      '{"order":"A-7"}',
    )
    const { items, chunks, firstFailure, tooSlow } = await render(request)
    expect(items).toEqual([
      { i: expect.any(String), u: 'alice', t: 'Hello Alice', b: 'A-7', l: '/orders/A-7' },
      { i: expect.any(String), u: 'b"ob', t: 'Hello ', b: 'A-7', l: '/orders/A-7' },
    ])
    expect(items.every(({ i }) => isUuid(i) && i[14] === '7')).toBe(true)
    expect(items[0]?.i).not.toBe(items[1]?.i)
    expect({ chunks, firstFailure, tooSlow }).toMatchObject({
      chunks: [{ count: 2, failed: 0, upTo: 'b"ob' }],
      firstFailure: null,
      tooSlow: 0,
    })
  })

  test('is in the language of the user: what they read, a wider one, or the default', async () => {
    const locales = ['en', 'pt', 'pt-BR']
    const users = ['pt-BR', 'pt-PT', 'pt', 'de', 'en-GB', null].map((locale) => ({ id: String(locale), locale }))
    const request = requestOf(
      locales.map((locale) => ({ locale, title: locale })),
      users,
    )
    expect((await render(request)).titles).toEqual({
      'pt-BR': 'pt-BR',
      'pt-PT': 'pt',
      pt: 'pt',
      de: 'en',
      'en-GB': 'en',
      null: 'en',
    })
  })

  test.each([
    ['{{ user.id }} {{ user.name }} {{ user.locale }} {{ user.timeZone }}', 'alice  de-AT Europe/Vienna'],
    ['{{ user.attributes.plan.tier }}', 'gold'],
    ['{% for city in user.attributes.cities %}{{ city }},{% endfor %}', 'Graz,Linz,'],
    // Nothing is made of HTML.
    ['<b>{{ user.attributes.html }}</b>', '<b><i>&amp;</i></b>'],
    ['{{ user.name | default: "you" }}', 'you'],
    ['{% if user.attributes.none %}a{% else %}b{% endif %}', 'b'],
    ['  kept  ', '  kept  '],
    // A clock of no place in particular, and the user's.
    ['{{ 0 | date: "%H:%M" }} {{ 0 | date: "%H:%M", user.timeZone }}', '00:00 01:00'],
    ['{{ 1767225600 | date: "%B" }}', 'January'],
  ])('%s is %s', async (title, expected) => {
    const attributes = { plan: { tier: 'gold' }, cities: ['Graz', 'Linz'], html: '<i>&amp;</i>' }
    expect(await titleOf(title, { locale: 'de-AT', timeZone: 'Europe/Vienna', attributes })).toBe(expected)
  })

  test('starts anew with each text and each user', async () => {
    const title = '{% increment n %}{% assign v = user.id %}{{ v }}{% increment user %}'
    const request = requestOf([{ title, body: '{% increment n %}' }], [{ id: 'a' }, { id: 'b' }])
    expect((await render(request)).items).toMatchObject([
      { t: '0a0', b: '0' },
      { t: '0b0', b: '0' },
    ])
  })

  test('is in chunks as large as asked for', async () => {
    const users = Array.from({ length: 25 }, (_, index) => ({ id: `user ${index}` }))
    const { chunks, items } = await render({ ...requestOf([{ title: '{{ user.id }}' }], users), chunkItemsMax: 10 })
    expect(chunks.map(({ count, upTo }) => [count, upTo])).toEqual([
      [10, 'user 9'],
      [10, 'user 19'],
      [5, 'user 24'],
    ])
    expect(items.map(({ u, t }) => [u, t])).toEqual(users.map(({ id }) => [id, id]))
  })

  test('is what stands there where it is no template', async () => {
    const content = { title: '{{ user.name }} {% foo %}', body: '{% for', url: '/{{ a }}' }
    const request = { ...requestOf([]), source: { content }, users: '[{"id":"a"},{"id":"b"}]', variables: null }
    const expected = { t: content.title, b: content.body, l: content.url }
    expect((await render(request)).items).toMatchObject([
      { u: 'a', ...expected },
      { u: 'b', ...expected },
    ])
  })

  test('is of the version that is asked for, also where more templates are in use than are remembered', async () => {
    const requests = Array.from({ length: 20 }, (_, index) => requestOf([{ title: `{{ user.id }} ${index}` }]))
    for (let round = 0; round < 2; round++) {
      for (const [index, request] of requests.entries()) {
        expect((await render(request)).titles).toEqual({ alice: `alice ${index}` })
      }
    }
  })
})

describe('who can not be rendered', () => {
  test('fails alone, and the first is told with the reason', async () => {
    const users = [
      { id: 'a', attributes: { city: 'Graz' } },
      { id: 'b' },
      { id: 'c' },
      { id: 'd', attributes: { city: 'Linz' } },
    ]
    const { titles, firstFailure, tooSlow, chunks } = await render(
      requestOf([{ title: '{{ user.attributes.city }}' }], users),
    )
    expect(titles).toEqual({ a: 'Graz', d: 'Linz' })
    expect(chunks).toMatchObject([{ count: 2, failed: 2, upTo: 'd' }])
    expect({ firstFailure, tooSlow }).toEqual({
      firstFailure: 'user "b", title: undefined variable: user.attributes.city, line 1, column 4',
      tooSlow: 0,
    })
  })

  test.each([
    ['{{ variables.foo }}', 'undefined variable: variables.foo, line 1, column 4'],
    ['{{ nobody }}', 'undefined variable: nobody, line 1, column 4'],
    ['{{ user.__proto__ }}', 'undefined variable: user.__proto__, line 1, column 4'],
    ['{{ user.constructor.name }}', 'undefined variable: user.constructor, line 1, column 4'],
    ['{{ user["toString"] }}', 'undefined variable: user.toString, line 1, column 4'],
    ['{{ __proto__ }}', 'undefined variable: __proto__, line 1, column 4'],
    ['{{ constructor }}', 'undefined variable: constructor, line 1, column 4'],
    ['{{ userName.constructor }}', 'undefined variable: userName.constructor, line 1, column 4'],
    ['{{ "x" | constructor }}', 'undefined filter: constructor, line 1, column 1'],
    ['{{ "x" | valueOf }}', 'undefined filter: valueOf, line 1, column 1'],
    ['{% constructor %}', 'tag "constructor" not found, line 1, column 1'],
    ['{% include "/etc/passwd" %}', 'tag "include" not found, line 1, column 1'],
    ['{% render "/etc/passwd" %}', 'tag "render" not found, line 1, column 1'],
    ['{% layout "/etc/passwd" %}', 'tag "layout" not found, line 1, column 1'],
    ['a\n\n {{ variables.foo }}', 'undefined variable: variables.foo, line 3, column 5'],
  ])('%j fails with %s', async (title, reason) => {
    expect(await titleOf(title)).toBe(`user "alice", title: ${reason}`)
  })

  test.each([
    ['an empty title', { title: '{{ userName }}' }, 'title must not be empty'],
    [
      'a long title',
      { title: `{{ userName }}${'x'.repeat(titleCharactersMax + 1)}` },
      `title must have ${titleCharactersMax} characters at most`,
    ],
    [
      'a long body',
      { body: `{{ userName }}${'x'.repeat(bodyCharactersMax + 1)}` },
      `body must have ${bodyCharactersMax} characters at most`,
    ],
    ['NUL', { body: '{{ variables.nul }}' }, 'body must not contain NUL characters or lone surrogates'],
    ['half a character', { body: '{{ variables.half }}' }, 'body must not contain NUL characters or lone surrogates'],
    [
      'a script for an address',
      { url: '{{ variables.url }}' },
      'url must be an http or https address, or a path that begins with a slash',
    ],
  ])('%s is refused as when it is sent', async (_, text, reason) => {
    const variables = '{"nul":"\\u0000","half":"\\ud800","url":"javascript:alert(1)"}'
    expect((await render(requestOf([text], undefined, variables))).firstFailure).toBe(`user "alice", ${reason}`)
  })

  test('as many characters as may be sent are no more, whatever they are', async () => {
    expect(await titleOf('😀'.repeat(titleCharactersMax))).toBe('😀'.repeat(titleCharactersMax))
  })

  test.each([
    ['a loop over a hundred million', '{% for i in (1..100000000) %}{% endfor %}', 'it takes too much memory'],
    [
      'loops in one another',
      '{% for i in (1..2000) %}{% for j in (1..2000) %}{% endfor %}{% endfor %}',
      'it takes too much memory',
    ],
    ['a date of a hundred million digits', '{{ "now" | date: "%99999999d" }}', 'it takes too much memory'],
    [
      '10 MB',
      '{% for i in (1..100000) %}{{ "0123456789" | times: 1 }}0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789{% endfor %}',
      'more than 65536 characters of output',
    ],
    [
      '10 MB that nobody sees',
      '{% capture a %}{% for i in (1..100000) %}0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789{% endfor %}{% endcapture %}x',
      'more than 65536 characters of output',
    ],
    [
      'a text that doubles',
      '{% assign a = "x" %}{% for i in (1..60) %}{% assign a = a | append: a %}{% endfor %}',
      'it takes too much memory',
    ],
  ])('%s fails', async (_, title, reason) => {
    expect(await titleOf(title)).toContain(`user "alice", title: ${reason}`)
  })

  test('a loop that takes long without taking memory ends after half a second', async () => {
    const loop = `{% for i in (1..900000) %}${'{% assign a = i %}'.repeat(20)}{% endfor %}`
    const title = `{% if user.id == "b" %}${loop}{% endif %}x`
    const { titles, firstFailure, tooSlow } = await render(
      requestOf([{ title }], [{ id: 'a' }, { id: 'b' }, { id: 'c' }]),
    )
    expect(titles).toEqual({ a: 'x', c: 'x' })
    expect({ firstFailure, tooSlow }).toEqual({
      firstFailure: 'user "b", title: it takes more than 500 ms',
      tooSlow: 1,
    })
  })

  test('variables named like what every object has are no more than that', async () => {
    const variables = '{"__proto__":{"admin":"own"},"constructor":"own too"}'
    expect(await titleOf('{{ variables.__proto__.admin }} {{ variables.constructor }}', { variables })).toBe(
      'own own too',
    )
    expect(await titleOf('{{ user.admin }}{{ variables.admin }}', { variables })).toContain(
      'undefined variable: user.admin',
    )
    expect(await titleOf('{{ variables.admin }}', { variables })).toContain('undefined variable: variables.admin')
  })

  test('Liquid in variables and in what users are called is text', async () => {
    const name = '{{ variables.secret }}{% foo %}'
    expect(
      await titleOf('{{ userName }}{{ variables.text }}', { name, variables: `{"secret":1,"text":"{{ user.id }}"}` }),
    ).toBe(`${name}{{ user.id }}`)
  })
})

describe('a template that hangs', () => {
  const users = [{ id: 'a' }, { id: 'b' }, { id: 'c' }]
  const forB = (title: string) =>
    requestOf([{ title: `{% if user.id == "b" %}${title}{% endif %}{{ user.id }}` }], users)

  test('fails for that user, while this process goes on', async () => {
    await using quick = disposable(createRenderer({ hangMsMax: 300 }))
    let turns = 0
    const timer = setInterval(() => turns++, 10)
    const { titles, firstFailure, tooSlow, chunks } = await render(forB(hangs), quick.renderer)
    clearInterval(timer)
    expect(titles).toEqual({ a: 'a', c: 'c' })
    expect({ firstFailure, tooSlow }).toEqual({ firstFailure: 'user "b", it takes more than 300 ms', tooSlow: 1 })
    expect(chunks).toMatchObject([{ count: 2, failed: 1, upTo: 'c' }])
    expect(turns).toBeGreaterThan(10)
  })

  test('fails as a whole where it does for three users, and the next one works', async () => {
    await using quick = disposable(createRenderer({ hangMsMax: 300 }))
    const all = requestOf([{ title: hangs }], users)
    const failing = expect(quick.renderer.render(all)).rejects.toMatchObject({ code: 'BAD_USER_INPUT' })
    const next = render(requestOf([{ title: '{{ user.id }}' }]), quick.renderer)
    await failing
    expect((await next).titles).toEqual({ alice: 'alice' })
  })

  test('does no harm to what is rendered at the same time', async () => {
    await using quick = disposable(createRenderer({ hangMsMax: 300 }))
    const results = await Promise.all(
      [forB(hangs), forB('x'), forB(hangs)].map((request) => render(request, quick.renderer)),
    )
    expect(results.map(({ titles, tooSlow }) => [titles, tooSlow])).toEqual([
      [{ a: 'a', c: 'c' }, 1],
      [{ a: 'a', b: 'xb', c: 'c' }, 0],
      [{ a: 'a', c: 'c' }, 1],
    ])
  })

  test('lets what is saved go first', async () => {
    await using quick = disposable(createRenderer({ hangMsMax: 300 }))
    const order: string[] = []
    await Promise.all([
      render(forB(hangs), quick.renderer).then(() => order.push('first')),
      render(forB(hangs), quick.renderer).then(() => order.push('second')),
      quick.renderer.check([]).then(() => order.push('check')),
    ])
    expect(order).toEqual(['first', 'check', 'second'])
  })

  test('fails with UNAVAILABLE when the renderer is closed, and nothing is left', async () => {
    const closing = createRenderer()
    await render(requestOf([{ title: 'a' }]), closing)
    const pids = renderProcesses()
    const pending = [closing.render(forB(hangs)), closing.render(forB(hangs)), closing.check([])]
    const outcomes = Promise.allSettled(pending)
    await closing.close()
    expect((await outcomes).map((outcome) => outcome.status === 'rejected' && outcome.reason.code)).toEqual(
      Array(3).fill('UNAVAILABLE'),
    )
    await expect(closing.check([])).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(renderProcesses().length).toBe(pids.length - 1)
  })
})

describe('the process that renders', () => {
  test('may run out of memory: the user fails, the others do not', async () => {
    await using small = disposable(createRenderer({ heapMbMax: 16 }))
    const title = `{% if user.id == "b" %}${hoards}{% endif %}{{ user.id }}`
    const request = requestOf([{ title }], [{ id: 'a' }, { id: 'b' }, { id: 'c' }])
    const [hoarding, beside] = await Promise.all([
      render(request, small.renderer),
      render(requestOf([{ title: 'x' }]), small.renderer),
    ])
    expect(hoarding.titles).toEqual({ a: 'a', c: 'c' })
    expect(hoarding).toMatchObject({ firstFailure: 'user "b", it takes too much time or memory', tooSlow: 1 })
    expect(beside.titles).toEqual({ alice: 'x' })
  })

  test('fails a request over which it dies again and again', async () => {
    await using small = disposable(createRenderer({ heapMbMax: 16 }))
    const users = Array.from({ length: 5 }, (_, index) => ({ id: `user ${index}` }))
    await expect(small.renderer.render(requestOf([{ title: hoards }], users))).rejects.toThrow('again and again')
    expect((await render(requestOf([{ title: 'x' }]), small.renderer)).titles).toEqual({ alice: 'x' })
  })

  test('is started again when it was killed, and nobody fails for it', async () => {
    await using killed = disposable(createRenderer())
    const before = renderProcesses()
    await render(requestOf([{ title: 'x' }]), killed.renderer)
    const [pid] = renderProcesses().filter((pid) => !before.includes(pid))
    const users = Array.from({ length: 20_000 }, (_, index) => ({ id: `user ${index}` }))
    const request = requestOf([{ title: '{{ user.id }}' }], users)
    const rendering = render(request, killed.renderer)
    process.kill(pid ?? 0, 'SIGKILL')
    const { titles, firstFailure } = await rendering
    expect(Object.keys(titles)).toHaveLength(users.length)
    expect(firstFailure).toBeNull()
    // Also while it was idle.
    const [another] = renderProcesses().filter((pid) => !before.includes(pid))
    process.kill(another ?? 0, 'SIGKILL')
    expect((await render(requestOf([{ title: 'y' }]), killed.renderer)).titles).toEqual({ alice: 'y' })
  })

  test('is killed where it is silent, and nobody fails for it', async () => {
    await using frozen = disposable(createRenderer({ hangMsMax: 100 }))
    const before = renderProcesses()
    await render(requestOf([{ title: 'x' }]), frozen.renderer)
    const [pid] = renderProcesses().filter((pid) => !before.includes(pid))
    process.kill(pid ?? 0, 'SIGSTOP')
    expect((await render(requestOf([{ title: 'y' }]), frozen.renderer)).titles).toEqual({ alice: 'y' })
    expect(isAlive(pid ?? 0)).toBe(false)
  })

  test('hears nothing of a signal to the whole group', async () => {
    await using signalled = disposable(createRenderer())
    const before = renderProcesses()
    await render(requestOf([{ title: 'x' }]), signalled.renderer)
    const [pid] = renderProcesses().filter((pid) => !before.includes(pid))
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(pid ?? 0, signal)
    expect((await render(requestOf([{ title: 'y' }]), signalled.renderer)).titles).toEqual({ alice: 'y' })
    expect(renderProcesses()).toContain(pid)
  })

  test('as compiled lets the server end while it is idle, and ends with it', async () => {
    await using built = await build()
    const url = pathToFileURL(join(dirname(built.main), 'templates/renderer.js')).href
    const script = `const { createRenderer } = await import('${url}')
      console.log(JSON.stringify(await createRenderer().check([{ locale: 'en', title: '{% foo %}', body: null, url: null }])))`
    const server = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let printed = ''
    server.stdout.setEncoding('utf8').on('data', (text: string) => {
      printed += text
    })
    const pids = new Set<number>()
    const watching = setInterval(() => {
      for (const pid of renderProcesses(server.pid)) pids.add(pid)
    }, 20)
    expect(await once(server, 'close')).toEqual([0, null])
    clearInterval(watching)
    expect(JSON.parse(printed)).toEqual([
      { locale: 'en', field: 'title', message: 'tag "foo" not found, line 1, column 1' },
    ])
    await vi.waitFor(() => expect([...pids].filter(isAlive)).toEqual([]), { timeout: 10_000 })
  })
})

describe('check', () => {
  test('tells the first problem of each text', async () => {
    const text = { locale: 'en', title: 'fine', body: null, url: null }
    expect(
      await renderer.check([
        { ...text, title: '{{ a }', body: 'a\n  {% if b %}' },
        { ...text, locale: 'de', url: '/{{ a | nothing }}' },
      ]),
    ).toEqual([
      { locale: 'en', field: 'title', message: 'output "{{ a }" not closed, line 1, column 1' },
      { locale: 'en', field: 'body', message: 'tag {% if b %} not closed, line 2, column 3' },
      { locale: 'de', field: 'url', message: 'undefined filter: nothing, line 1, column 2' },
    ])
  })

  test('tells of what is nested too deeply', async () => {
    const body = '{%if a%}'.repeat(5_500) + '{%endif%}'.repeat(5_500)
    expect(await renderer.check([{ locale: 'en', title: 'a', body, url: null }])).toEqual([
      { locale: 'en', field: 'body', message: 'it is nested too deeply, or too long' },
    ])
    expect((await render(requestOf([{ title: 'x' }]))).titles).toEqual({ alice: 'x' })
  })
})

function disposable(renderer: Renderer) {
  return { renderer, [Symbol.asyncDispose]: () => renderer.close() }
}

/** Those that a process started, in the order of their ids. */
function renderProcesses(parent = process.pid): number[] {
  const lines = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,args='], { encoding: 'utf8' }).split('\n')
  return lines
    .map((line) => /^\s*(\d+)\s+(\d+)\s.*render-process\.mjs/.exec(line))
    .filter((match) => Number(match?.[2]) === parent)
    .map((match) => Number(match?.[1]))
}
