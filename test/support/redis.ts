// A Redis for the tests: the one that TEST_REDIS_URL names, or one of our own; and one that a single test may stop,
// freeze and start again.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createConnection, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { TestServer } from './postgres.ts'
import { requireProgram } from './programs.ts'

const startTimeoutMs = 10_000
const stopTimeoutMs = 5_000
/** Below the range that outgoing connections take theirs from, so that it is free again after a kill. */
const freePorts = { min: 20_000, max: 32_767 }

export async function startTestRedis(): Promise<TestServer> {
  const url = process.env.TEST_REDIS_URL
  if (url) return { url, async [Symbol.asyncDispose]() {} }
  return startRedis()
}

export interface OwnRedis extends TestServer {
  readonly port: number
  /** Of the process that runs now, or ran last. */
  readonly pid: number
  /** Ends it; connections break. Does nothing where it is stopped already. */
  stop(): Promise<void>
  /** Ends it without a goodbye. */
  kill(): Promise<void>
  /** Stops it and starts it on the same port. */
  restart(): Promise<void>
  /** Freezes the process: connections stay open, and nothing answers. */
  pause(): void
  resume(): void
}

/** A Redis of the caller's own on 127.0.0.1, which keeps nothing on disk. `settings` are more of redis-server's own. */
export async function startRedis({ settings = [] }: { settings?: string[] } = {}): Promise<OwnRedis> {
  const program = await requireProgram('redis-server', 'redis-server')
  const directory = await mkdtemp(join(tmpdir(), 'carillon-redis-'))
  const port = await freePort()
  const start = () => launch(program, port, ['--dir', directory, ...settings])
  let server = await start()
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    get pid() {
      return server.pid ?? 0
    },
    stop: () => stop(server),
    kill: () => stop(server, 'SIGKILL'),
    async restart() {
      await stop(server)
      server = await start()
    },
    pause: () => void server.kill('SIGSTOP'),
    resume: () => void server.kill('SIGCONT'),
    async [Symbol.asyncDispose]() {
      await stop(server)
      await rm(directory, { recursive: true, force: true })
    },
  }
}

async function launch(program: string, port: number, settings: string[]): Promise<ChildProcess> {
  const parameters = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', ...settings]
  const server = spawn(program, parameters, { stdio: ['ignore', 'pipe', 'ignore'] })
  let output = ''
  server.stdout.on('data', (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-2_000)
  })
  if (server.pid !== undefined) endWithThisProcess(server, server.pid)
  const giveUpAt = Date.now() + startTimeoutMs
  while (!(await answers(port))) {
    if (server.exitCode !== null || Date.now() > giveUpAt) {
      server.kill('SIGKILL')
      throw new Error(`redis-server did not start on port ${port}: ${output}`)
    }
    await delay(20)
  }
  return server
}

/** A test process may be killed before anything is disposed of. The pipe to this shell closes with it in any case. */
function endWithThisProcess(server: ChildProcess, pid: number): void {
  const guard = spawn('sh', ['-c', 'cat > /dev/null; kill -9 "$0"', String(pid)], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  server.once('exit', () => guard.kill('SIGKILL'))
}

async function stop(server: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return
  const exited = once(server, 'exit')
  server.kill('SIGCONT')
  server.kill(signal)
  const timer = setTimeout(() => server.kill('SIGKILL'), stopTimeoutMs)
  await exited
  clearTimeout(timer)
}

async function answers(port: number): Promise<boolean> {
  const socket = createConnection(port, '127.0.0.1')
  socket.setTimeout(1_000, () => socket.destroy(new Error('no answer')))
  try {
    await once(socket, 'connect')
    socket.write('PING\r\n')
    const [reply] = await once(socket, 'data')
    return /^(\+PONG|-NOAUTH)/.test(String(reply))
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

export async function freePort(): Promise<number> {
  const server = createServer()
  for (;;) {
    const port = freePorts.min + Math.floor(Math.random() * (freePorts.max - freePorts.min))
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
    })
    if (isFree) return port
  }
}
