// What is printed: a table a workload, and figures as one reads them.

const figuresAcrossMax = 9

/** Of each figure of each server: the median, the least and the most. */
export function summarize(runs, workload, serverNames) {
  const rows = {}
  for (const server of serverNames) {
    const all = runs.filter((run) => run.workload === workload && run.server === server).map(({ figures }) => figures)
    if (all.length === 0) continue
    rows[server] = Object.fromEntries(Object.keys(all[0]).map((key) => [key, spread(all.map((one) => one[key]))]))
  }
  return rows
}

export function spread(values) {
  const ascending = values.toSorted((a, b) => a - b)
  const middle = ascending.length >> 1
  const median = ascending.length % 2 === 1 ? ascending[middle] : (ascending[middle - 1] + ascending[middle]) / 2
  return { median, least: ascending[0], most: ascending.at(-1) }
}

export function printTable({ workload, title, servers }) {
  const keys = [...new Set(Object.values(servers).flatMap((figures) => Object.keys(figures)))]
  if (keys.length === 0) return
  console.log(`\n${workload}. ${title}\n`)
  const names = Object.keys(servers)
  const cellOf = (server, key) => (servers[server][key] ? cell(servers[server][key]) : '')
  // Many figures of few servers are easier to read below each other.
  if (keys.length > figuresAcrossMax) printRows(keys, names, (key, server) => cellOf(server, key))
  else printRows(names, keys, cellOf)
}

function printRows(rows, columns, cellOf) {
  console.log(`| | ${columns.join(' | ')} |\n| --- |${columns.map(() => ' --: |').join('')}`)
  for (const row of rows) console.log(`| ${row} | ${columns.map((column) => cellOf(row, column)).join(' | ')} |`)
}

export function cell({ median, least, most }, show = shortest) {
  return least === most ? show(median) : `${show(median)} (${show(least)} to ${show(most)})`
}

export function show(figures) {
  return Object.entries(figures)
    .map(([key, value]) => `${key} ${shortest(value)}`)
    .join(', ')
}

export function shortest(value) {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en')
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2)
}
