// What is printed: a table a workload, and figures as one reads them.

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
  console.log(`| | ${keys.join(' | ')} |\n| --- |${keys.map(() => ' --: |').join('')}`)
  for (const [server, figures] of Object.entries(servers)) {
    console.log(`| ${server} | ${keys.map((key) => (figures[key] ? cell(figures[key]) : '')).join(' | ')} |`)
  }
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
