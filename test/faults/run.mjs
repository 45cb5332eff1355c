// The fault cases in their whole size, or random faults for as long as told:
//   npm run faults                                    all cases, about a quarter of an hour
//   npm run faults -- --case storm                    the files whose name has this
//   npm run faults -- --minutes 60 [--seed NUMBER]    random faults; the seed is printed, and draws the same ones again
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: { minutes: { type: 'string' }, seed: { type: 'string' }, case: { type: 'string' } },
})
const { minutes, seed, case: name } = values
const file = minutes === undefined ? (name ?? '') : 'random'
const vitest = join(import.meta.dirname, '../../node_modules/vitest/vitest.mjs')
const child = spawn(process.execPath, [vitest, 'run', '--project', 'faults', ...(file ? [`faults/${file}`] : [])], {
  cwd: join(import.meta.dirname, '../..'),
  stdio: 'inherit',
  env: {
    ...process.env,
    FAULTS: 'whole',
    ...(minutes && { FAULTS_MINUTES: minutes }),
    ...(seed && { FAULTS_SEED: seed }),
  },
})
child.on('close', (status) => {
  process.exitCode = status ?? 1
})
