// The process of the clients: connects users, and runs one load against one server. Started by session.mjs, which tells it
// what to do, and which it tells what it has measured.
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { openCaller } from './callers.mjs'
import { closedLoop, openLoop } from './loads.mjs'
import { subscribe } from './protocols.mjs'
import { tokenOf } from './token.mjs'

const connectingMax = 50
const settleMs = 1_000
/** From one address to one server there are 28,000 ports. */
const localAddressOf = (user) => `127.0.0.${2 + (user % 8)}`
const filler = 'x'.repeat(140)

const sendMutation = `mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { notification { id } } }`
const sendManyMutation = `mutation ($inputs: [SendNotificationInput!]!) { sendNotifications(inputs: $inputs) { payload { notification { id } } error { code } } }`

const state = { users: 0, target: undefined, sockets: [], onDelivery: (_text) => {} }

const commands = {
  /** Users 0 to `users`, but for those who are connected already. */
  async connect({ users, target }) {
    state.target = target
    const startedAt = performance.now()
    for (let first = state.users; first < users; first += connectingMax) {
      await connectAll(first, Math.min(users, first + connectingMax))
    }
    state.users = users
    const ms = performance.now() - startedAt
    // What begins once a connection is accepted.
    await sleep(settleMs)
    return { ms }
  },

  /** Users `first` to `end` all at once, and until they have had `deliveries` together. They are gone again then. */
  async catchUp({ target, first, end, deliveries }) {
    state.target = target
    let count = 0
    let lastMs = 0
    const startedAt = performance.now()
    const isDone = new Promise((resolve) => {
      state.onDelivery = () => {
        if (++count !== deliveries) return
        lastMs = performance.now() - startedAt
        resolve()
      }
    })
    await Promise.all([connectAll(first, end), isDone])
    return { ms: lastMs }
  },

  disconnect() {
    for (const socket of state.sockets) socket.destroy()
    state.sockets = []
    state.users = 0
  },

  /** Deliveries: so many under way at once, or with `perSecond` so many a second. */
  async publish({ count, underWay, perSecond }) {
    const control = await openControl()
    const load = perSecond === undefined ? closedLoop(count) : openLoop(count, perSecond)
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

  /** One text to all users, again each time when the last has it. */
  async broadcast({ times }) {
    const control = await openControl()
    const load = closedLoop(times)
    let missing = 0
    load.begin = (number) => {
      missing = state.users
      control.write(`*${state.users} #${number}#${filler}\n`)
    }
    state.onDelivery = (text) => {
      if (--missing === 0) load.end(numberIn(text))
    }
    const result = await load.run(1)
    control.destroy()
    return result
  },

  /**
   * Sends: each is over once it is answered and delivered, or where nobody is connected, answered. `each`: so many in one
   * operation, of which `count` are made.
   */
  async send({ target, users = state.users, count, underWay, over = 'http', each = 1 }) {
    state.target = target
    const load = closedLoop(count)
    const { ports } = state.target
    const opening = Array.from({ length: underWay }, (_, place) => {
      // Sockets are counted by user, and a service with 64 of them would be too many.
      const service = over === 'http' ? 'service' : `service-${place}`
      return openCaller({ over, port: ports[place % ports.length], token: tokenOf(service, 'notifications:send') })
    })
    const callers = await Promise.all(opening)
    const idle = [...callers]
    const deliveries = state.users > 0 ? each : 0
    const missing = new Uint16Array(count).fill(1 + deliveries)
    const isOver = (number) => {
      if (--missing[number] === 0) load.end(number)
    }
    const inputOf = (number) => ({
      userId: `user-${number % users}`,
      title: 'bench',
      body: `#${number}#${filler}`,
    })
    load.begin = (number) => {
      const caller = idle.pop()
      const inputs = Array.from({ length: each }, (_, place) => inputOf(number * each + place))
      const [query, variables] = each === 1 ? [sendMutation, { input: inputs[0] }] : [sendManyMutation, { inputs }]
      caller.call(query, variables, () => {
        idle.push(caller)
        isOver(number)
      })
    }
    state.onDelivery = (text) => isOver(Math.floor(numberIn(text) / each))
    const result = await load.run(underWay)
    for (const caller of callers) caller.close()
    return { ...result, perSecond: result.perSecond * each }
  },

  /** Operations over HTTP, one after the other: `calls` of `{ user, scope, query, variables }`, all of them `times`. */
  async call({ target, calls, times = 1, keepAnswers = false }) {
    const answers = []
    const load = closedLoop(calls.length * times)
    const tokens = calls.map(({ user, scope }) => tokenOf(user, scope))
    const caller = await openCaller({ over: 'http', port: target.ports[0] })
    load.begin = (number) => {
      const place = number % calls.length
      const { query, variables } = calls[place]
      const onAnswer = (text) => {
        if (keepAnswers) answers[number] = text
        load.end(number)
      }
      caller.call(query, variables, onAnswer, tokens[place])
    }
    const result = await load.run(1)
    caller.close()
    return { ...result, answers }
  },
}

process.on('message', async ({ command, ...options }) => {
  try {
    process.send({ result: (await commands[command](options)) ?? null })
  } catch (error) {
    process.send({ error: String(error.stack) })
  }
})
process.on('disconnect', () => process.exit())
process.on('uncaughtException', (error) => {
  process.send({ error: String(error.stack) }, () => process.exit(1))
})

async function connectAll(first, end) {
  const { ports, protocol, document } = state.target
  const some = Array.from({ length: end - first }, (_, place) => first + place)
  const sockets = await Promise.all(
    some.map((user) => {
      const userId = `user-${user}`
      const port = ports[user % ports.length]
      const options = { protocol, port, document, userId, token: tokenOf(userId), localAddress: localAddressOf(user) }
      return subscribe(options, (text) => state.onDelivery(text))
    }),
  )
  state.sockets.push(...sockets)
}

async function openControl() {
  const control = connect({ port: state.target.control, host: '127.0.0.1', noDelay: true })
  await once(control, 'connect')
  return control
}

function numberIn(text) {
  const start = text.indexOf('#') + 1
  return Number(text.slice(start, text.indexOf('#', start)))
}
