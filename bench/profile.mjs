// What a .cpuprofile says: who spends the time, by function and by package or file. Share of the time in which the process
// was not idle.
//   node bench/profile.mjs FILE.cpuprofile [lines, 25]
import { readFile } from 'node:fs/promises'

const [file, lines = '25'] = process.argv.slice(2)
if (!file) throw new Error('give a .cpuprofile, which `npm run bench -- --profile FOLDER` writes')
const { nodes, samples, timeDeltas } = JSON.parse(await readFile(file, 'utf8'))

const byId = new Map(nodes.map((node) => [node.id, node.callFrame]))
const byFunction = new Map()
const byFile = new Map()
let busyUs = 0
for (const [index, id] of samples.entries()) {
  const { functionName, url, lineNumber } = byId.get(id)
  if (functionName === '(idle)') continue
  // The time until the next sample is this one's.
  const us = timeDeltas[index + 1] ?? 0
  busyUs += us
  const place = placeOf(url)
  const name = functionName || '(anonymous)'
  add(byFunction, url ? `${name} ${place}:${lineNumber + 1}` : name, us)
  add(byFile, url ? packageOf(place) : name, us)
}
console.log(`${(busyUs / 1e6).toFixed(1)} s busy of ${(sum(timeDeltas) / 1e6).toFixed(1)} s\n`)
print('function', byFunction)
console.log()
print('package or file', byFile)

function add(map, key, us) {
  map.set(key, (map.get(key) ?? 0) + us)
}

/** Without the folders above the project's or the package's. */
function placeOf(url) {
  const path = url.replace(/^file:\/\//, '')
  const packages = path.split('/node_modules/')
  if (packages.length > 1) return packages.at(-1)
  return path.replace(/^.*\/(?=(dist|bench)\/)/, '')
}

/** Of a package its name, of Node's own modules and of the project's the file. */
function packageOf(place) {
  if (place.startsWith('node:') || /^(dist|bench)\//.test(place)) return place
  return place.startsWith('@') ? place.split('/', 2).join('/') : place.split('/', 1)[0]
}

function print(what, map) {
  console.log(`| ${what} | self time |\n| --- | --: |`)
  const ordered = [...map].sort(([, a], [, b]) => b - a).slice(0, Number(lines))
  for (const [name, us] of ordered) console.log(`| ${name} | ${((us / busyUs) * 100).toFixed(1)} % |`)
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0)
}
