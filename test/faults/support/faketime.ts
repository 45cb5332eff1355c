// A clock for the processes of a PostgreSQL that a test sets as it likes, also while they run: they are started with
// libfaketime, which reads how far off it is from a file, anew each time. Timers go by the machine all the same.
import { execFile } from 'node:child_process'
import { chmod, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { requireProgram } from '../../support/programs.ts'

const execute = promisify(execFile)

export interface FakeTime extends AsyncDisposable {
  /** What processes are started with, so that they go by it. */
  readonly environment: Record<string, string>
  /** From now on it is this moment, in milliseconds since 1970. At first it is the machine's time. */
  set(at: number): Promise<void>
}

export async function createFakeTime(): Promise<FakeTime> {
  const program = await requireProgram('faketime', 'faketime')
  const { stdout } = await execute(program, ['-f', '+0s', 'printenv', 'LD_PRELOAD'])
  const folder = await mkdtemp(join(tmpdir(), 'carillon-faketime-'))
  // PostgreSQL may run as somebody else.
  await chmod(folder, 0o755)
  const file = join(folder, 'offset')
  const write = async (offsetMs: number) => {
    const sign = offsetMs < 0 ? '-' : '+'
    await writeFile(`${file}.new`, `${sign}${(Math.abs(offsetMs) / 1_000).toFixed(3)}s\n`, { mode: 0o644 })
    await rename(`${file}.new`, file)
  }
  await write(0)
  return {
    environment: {
      LD_PRELOAD: stdout.trim(),
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      // Nothing that processes share, which those that are killed would leave behind.
      FAKETIME_DISABLE_SHM: '1',
      NO_FAKE_STAT: '1',
    },
    set: (at) => write(at - Date.now()),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true }),
  }
}
