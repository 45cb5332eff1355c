// The process of the clients: connects users, and runs one load against one server. Started by run.mjs, which it tells what
// it has measured.
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { subscribe } from './protocols.mjs'

const connectingMax = 50
const settleMs = 1_000
/** From one address to one server there are 28,000 ports. */
const localAddressOf = (user) => `127.0.0.${2 + (user % 8)}`
const secret = process.env.BENCH_JWT_SECRET
const filler = 'x'.repeat(140)

const state = { users: 0, port: 0, control: 0, onDelivery: (_text) => {} }

const commands = {
  async connect({ users, port, control, protocol, document }) {
    Object.assign(state, { users, port, control })
    const startedAt = performance.now()
    for (let first = 0; first < users; first += connectingMax) {
      const some = Array.from({ length: Math.min(connectingMax, users - first) }, (_, place) => first + place)
      await Promise.all(
        some.map((user) => {
          const options = {
            protocol,
            port,
            document,
            token: tokenOf(`user-${user}`),
            localAddress: localAddressOf(user),
          }
          return subscribe(options, (text) => state.onDelivery(text))
        }),
      )
    }
    const ms = performance.now() - startedAt
    // What begins once a connection is accepted.
    await sleep(settleMs)
    return { ms }
  },

  /** Deliveries, so many under way at once. */
  async publish({ count, underWay }) {
    const control = connect({ port: state.control, host: '127.0.0.1', noDelay: true })
    await once(control, 'connect')
    const load = closedLoop(count)
    let queue = ''
    load.begin = (number) => {
      if (queue === '') setImmediate(flush)
      queue += `${number % state.users} #${number}#${filler}\n`
    }
    const flush = () => {
      control.write(queue)
      queue = ''
    }
    state.onDelivery = (text) => load.end(numberIn(text))
    const result = await load.run(underWay)
    control.destroy()
    return result
  },

  /** Sends over HTTP: each is over once it is answered and delivered. */
  async send({ count, underWay }) {
    const load = closedLoop(count)
    const token = tokenOf('service', 'notifications:send')
    const callers = []
    const idle = []
    const half = new Uint8Array(count)
    const isOver = (number) => {
      if (++half[number] === 2) load.end(number)
    }
    for (let caller = 0; caller < underWay; caller++) {
      const one = new Caller(state.port, token)
      await one.connected
      callers.push(one)
      idle.push(one)
    }
    load.begin = (number) => {
      const caller = idle.pop()
      caller.post({ userId: `user-${number % state.users}`, title: 'bench', body: `#${number}#${filler}` }, () => {
        idle.push(caller)
        isOver(number)
      })
    }
    state.onDelivery = (text) => isOver(numberIn(text))
    const result = await load.run(underWay)
    for (const caller of callers) caller.close()
    return result
  },
}

process.on('message', async ({ command, ...options }) => {
  try {
    process.send({ result: await commands[command](options) })
  } catch (error) {
    process.send({ error: String(error.stack) })
  }
})

function numberIn(text) {
  const start = text.indexOf('#') + 1
  return Number(text.slice(start, text.indexOf('#', start)))
}

/** As many under way as told, until `count` are over. `begin` is the caller's, who calls `end` for each. */
function closedLoop(count) {
  const beganAt = new Float64Array(count)
  const tookMs = []
  let next = 0
  let done = () => {}
  const load = {
    begin: (_number) => {},
    end(number) {
      tookMs.push(performance.now() - beganAt[number])
      if (next < count) start()
      else if (tookMs.length === count) done()
    },
    async run(underWay) {
      const startedAt = performance.now()
      const isDone = new Promise((resolve) => {
        done = resolve
      })
      while (next < Math.min(underWay, count)) start()
      await isDone
      const ms = performance.now() - startedAt
      tookMs.sort((a, b) => a - b)
      return { perSecond: (count / ms) * 1_000, p50Ms: tookMs[count >> 1], p99Ms: tookMs[Math.floor(count * 0.99)] }
    },
  }
  function start() {
    const number = next++
    beganAt[number] = performance.now()
    load.begin(number)
  }
  return load
}

const mutation = `mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { notification { id } } }`

/** One connection over HTTP that is kept, and carries one request at a time. */
class Caller {
  #socket
  #head
  #text = ''
  #done = () => {}

  constructor(port, token) {
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.connected = once(this.#socket, 'connect')
    this.#head = `POST /graphql HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\nAccept: application/json\r\n`
    this.#socket.setEncoding('latin1').on('data', (chunk) => this.#take(chunk))
  }

  post(input, done) {
    const body = JSON.stringify({ query: mutation, variables: { input } })
    this.#done = done
    this.#socket.write(`${this.#head}Content-Length: ${body.length}\r\n\r\n${body}`)
  }

  close() {
    this.#socket.destroy()
  }

  #take(chunk) {
    this.#text += chunk
    const head = this.#text.indexOf('\r\n\r\n')
    if (head < 0) return
    const length = /content-length: (\d+)/i.exec(this.#text)
    const isWhole = length ? this.#text.length >= head + 4 + Number(length[1]) : this.#text.endsWith('\r\n0\r\n\r\n')
    if (!isWhole) return
    if (!this.#text.includes('"id":"') || this.#text.includes('"errors"')) throw new Error(this.#text)
    this.#text = ''
    this.#done()
  }
}

function tokenOf(sub, scope) {
  const now = Math.floor(Date.now() / 1_000)
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ sub, scope, iat: now, exp: now + 3_600 })}`
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}
