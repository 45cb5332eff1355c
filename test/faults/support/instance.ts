// One server process, with a proxy on each of its three sides: its clients, PostgreSQL and Redis.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { startProxy, type TcpProxy } from '../../support/proxy.ts'
import { jwtSecret, tokenFor } from '../../support/server.ts'

const execute = promisify(execFile)
const startMsMax = 30_000
/** Enough to see what happened last. */
const logLinesMax = 200

export interface InstanceOptions {
  /** The compiled program. */
  main: string
  postgresUrl: string
  redisUrl: string
  env?: Record<string, string>
  /** For Node, before the program. */
  nodeArguments?: string[]
}

export class Instance implements AsyncDisposable {
  /** Through its proxy; stays the same over restarts. */
  readonly url: string
  readonly clients: TcpProxy
  readonly postgres: TcpProxy
  readonly redis: TcpProxy
  /** What it must never do, whatever happens around it: end by itself, log an error. */
  readonly defects: string[] = []
  readonly #options: InstanceOptions
  #process: ChildProcess | undefined
  #exited: Promise<unknown> = Promise.resolve()
  #isExpectedToRun = false
  #directUrl = ''
  #log: string[] = []

  static async create(options: InstanceOptions): Promise<Instance> {
    const postgres = await startProxy({ targets: [options.postgresUrl] })
    const redis = await startProxy({ targets: [options.redisUrl] })
    // Retargeted as soon as it listens. Nothing listens at port 1.
    const clients = await startProxy({ targets: ['http://127.0.0.1:1'] })
    return new Instance(options, { clients, postgres, redis })
  }

  private constructor(options: InstanceOptions, proxies: { clients: TcpProxy; postgres: TcpProxy; redis: TcpProxy }) {
    this.#options = options
    this.clients = proxies.clients
    this.postgres = proxies.postgres
    this.redis = proxies.redis
    this.url = proxies.clients.url
  }

  /** Past its proxy; another after each start. */
  get directUrl(): string {
    return this.#directUrl
  }

  get pid(): number {
    return this.#process?.pid ?? 0
  }

  /** Its last lines. */
  get log(): readonly string[] {
    return this.#log
  }

  /** Takes requests when it returns. */
  async start(): Promise<void> {
    const { main, env, nodeArguments = [] } = this.#options
    const child = spawn(process.execPath, [...nodeArguments, main], {
      env: {
        PATH: process.env.PATH,
        PORT: '0',
        DATABASE_URL: this.postgres.url,
        REDIS_URL: this.redis.url,
        CARILLON_JWT_SECRET: jwtSecret,
        CARILLON_MIGRATE: 'false',
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#process = child
    this.#exited = once(child, 'exit')
    this.#isExpectedToRun = true
    child.once('exit', (status, signal) => {
      if (this.#isExpectedToRun) this.defects.push(`ended by itself with ${status ?? signal}: ${this.#log.at(-1)}`)
      this.#isExpectedToRun = false
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => this.#take(text))
    const ready = new Promise<string>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`it did not start: ${this.#log.join('\n')}`)), startMsMax)
      child.once('exit', () => reject(new Error(`it ended while it started: ${this.#log.join('\n')}`)))
      createInterface({ input: child.stdout }).on('line', (line) => {
        const { msg, url } = this.#take(line)
        if (msg !== 'the server is ready') return
        clearTimeout(timer)
        resolve(String(url))
      })
    })
    this.#directUrl = await ready
    this.clients.retarget([this.#directUrl])
  }

  /** Ends it without a warning. */
  async kill(): Promise<void> {
    this.#isExpectedToRun = false
    this.#process?.kill('SIGKILL')
    await this.#exited
  }

  /** Tells it to stop; resolves with its exit status once it has. */
  async stop(): Promise<number | null> {
    this.#isExpectedToRun = false
    this.#process?.kill('SIGTERM')
    await this.#exited
    return this.#process?.exitCode ?? null
  }

  /** The process stays, and does nothing; its connections stay open. */
  freeze(): void {
    this.#process?.kill('SIGSTOP')
  }

  thaw(): void {
    this.#process?.kill('SIGCONT')
  }

  /** Resident memory, in MiB. */
  async memory(): Promise<number> {
    const { stdout } = await execute('ps', ['-o', 'rss=', '-p', String(this.pid)])
    return Number(stdout) / 1024
  }

  /** Processor time used until now, in ms. */
  async cpuMs(): Promise<number> {
    const { stdout } = await execute('ps', ['-o', 'cputimes=', '-p', String(this.pid)])
    return Number(stdout) * 1000
  }

  /** Files and sockets that it has open. Linux only. */
  async handles(): Promise<number> {
    return (await readdir(`/proc/${this.pid}/fd`)).length
  }

  /** What it says that works worse than it should, and why; `bus` for example. */
  async degraded(): Promise<Record<string, string>> {
    const response = await fetch(`${this.#directUrl}/readyz`)
    const { degraded }: { degraded: Record<string, string> } = await response.json()
    return degraded
  }

  /** The value of one metric, summed over its labels; with `labels`, of those that have them as Prometheus writes it. */
  async metric(name: string, labels = ''): Promise<number> {
    const response = await fetch(`${this.#directUrl}/metrics`, {
      headers: { authorization: `Bearer ${await tokenFor('operator', ['admin'])}` },
    })
    const lines = (await response.text()).split('\n').filter((line) => /^[\w:]+/.exec(line)?.[0] === name)
    return lines.filter((line) => line.includes(labels)).reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.thaw()
    await this.kill()
    for (const proxy of [this.clients, this.postgres, this.redis]) await proxy[Symbol.asyncDispose]()
  }

  #take(line: string): { msg?: unknown; url?: unknown } {
    this.#log.push(line)
    if (this.#log.length > logLinesMax) this.#log = this.#log.slice(-logLinesMax / 2)
    try {
      const entry = JSON.parse(line)
      // Of pino: 50 is an error.
      if (entry.level >= 50) this.defects.push(`${entry.msg}: ${entry.err?.stack ?? entry.reason}`)
      return entry
    } catch {
      this.defects.push(line)
      return {}
    }
  }
}
