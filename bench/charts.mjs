// The charts of a summary, one a workload, into docs/bench/. Also by itself, over results.json: `node bench/charts.mjs`.
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { drawChart } from './chart.mjs'
import { machineText } from './machine.mjs'

const folder = join(import.meta.dirname, '../docs/bench')

/** `summary`: each `{ workload, title, charts, servers }`. */
export async function writeCharts(summary, machine) {
  await mkdir(folder, { recursive: true })
  for (const { workload, title, charts, servers } of summary) {
    const panels = charts.flatMap(({ figure, ...panel }) => {
      const bars = Object.entries(servers).flatMap(([name, figures]) =>
        figures[figure] ? { name, ...figures[figure] } : [],
      )
      return bars.length > 0 ? { ...panel, bars } : []
    })
    if (panels.length === 0) continue
    const chart = drawChart({ title: `${workload}. ${title}`, note: machineText(machine), panels })
    await writeFile(join(folder, `${workload}.svg`), chart)
  }
}

if (process.argv[1] === import.meta.filename) {
  const { summary, machine } = JSON.parse(await readFile(join(import.meta.dirname, 'results.json'), 'utf8'))
  await writeCharts(summary, machine)
}
