// Drives a running server over its public API: concurrent senders, users with a WebSocket each, and what a send and a
// delivery cost. Needs `npm run build`, and the server's address, process id and secret:
//   CARILLON_JWT_SECRET=… node bench/send-and-deliver.mjs http://localhost:4000 PID
// Further arguments: sends (default 10000), senders (64), users (1000), and how many of them listen (all).
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { cpus } from 'node:os'
import WebSocket from 'ws'
import { signToken } from '../dist/token.js'

const [url = 'http://localhost:4000', pid, ...numbers] = process.argv.slice(2)
const [sends = 10_000, senders = 64, users = 1_000, listeners = users] = numbers.map(Number)
const secret = process.env.CARILLON_JWT_SECRET
if (!pid || !secret) throw new Error("give the server's address and process id, and CARILLON_JWT_SECRET")
/** Linux counts the time of processes in hundredths of a second. */
const msPerTick = 10
const deadlineMs = 30_000

const run = Date.now().toString(36)
const sentAt = new Float64Array(sends)
const sendMs = []
const deliveryMs = []
let wanted = 0
let allDelivered

const service = await signToken({ secret, sub: 'bench', scopes: ['notifications:send'], ttlSeconds: 3600 })
const sockets = []
for (let user = 0; user < listeners; user += 50) {
  const batch = Array.from({ length: Math.min(50, listeners - user) }, (_, index) => listen(nameOf(user + index)))
  sockets.push(...(await Promise.all(batch)))
}

const timeout = setTimeout(() => {
  throw new Error(`not done after ${deadlineMs} ms: ${deliveryMs.length} delivered`)
}, deadlineMs)
const cpuBefore = cpuMs()
const start = performance.now()
const delivered = new Promise((resolve) => {
  allDelivered = resolve
})
let next = 0
await Promise.all(Array.from({ length: senders }, sendInTurn))
const sendSeconds = (performance.now() - start) / 1000
if (wanted > 0) await delivered
const seconds = (performance.now() - start) / 1000
const cpu = cpuMs() - cpuBefore
clearTimeout(timeout)

const whole = (number) => Math.round(number)
console.log(
  JSON.stringify({
    sends,
    senders,
    users,
    listeners,
    processors: cpus().length,
    node: process.version,
    sendsPerSecond: whole(sends / sendSeconds),
    deliveries: deliveryMs.length,
    seconds: Number(seconds.toFixed(2)),
    serverCpuUsPerSend: whole((cpu * 1000) / sends),
    sendMs: percentiles(sendMs),
    deliveryMs: percentiles(deliveryMs),
  }),
)
for (const socket of sockets) socket.terminate()

function nameOf(user) {
  return `bench-${run}-${user}`
}

/** Resolves once the subscription is under way. */
async function listen(user) {
  const authorization = await signToken({ secret, sub: user, ttlSeconds: 3600 })
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws')
  socket.on('open', () => socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization } })))
  return new Promise((resolve, reject) => {
    socket.on('error', reject)
    socket.on('message', (data) => {
      const message = JSON.parse(data)
      if (message.type === 'connection_ack') {
        const query = 'subscription { notifications { id seq title body cursor createdAt } }'
        socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query } }))
        // Answered behind the subscription, which has begun by then or begins with a replay: either way nothing is lost.
        socket.send(JSON.stringify({ id: '2', type: 'subscribe', payload: { query: '{ inbox { unreadCount } }' } }))
      } else if (message.type === 'next' && message.id === '2') resolve(socket)
      else if (message.type === 'next') take(message.payload.data.notifications)
      else if (message.type === 'error') reject(new Error(JSON.stringify(message.payload)))
    })
  })
}

function take({ title }) {
  deliveryMs.push(performance.now() - sentAt[Number(title)])
  if (deliveryMs.length === wanted && next >= sends) allDelivered()
}

async function sendInTurn() {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  for (let number = next++; number < sends; number = next++) {
    const user = number % users
    if (user < listeners) wanted += 1
    sentAt[number] = performance.now()
    await post(agent, nameOf(user), String(number))
    sendMs.push(performance.now() - sentAt[number])
  }
  agent.destroy()
}

function post(agent, userId, title) {
  const query = 'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { notification { id } } }'
  const body = JSON.stringify({ query, variables: { input: { userId, title, body: 'x'.repeat(100) } } })
  const headers = { authorization: `Bearer ${service}`, 'content-type': 'application/json' }
  return new Promise((resolve, reject) => {
    const call = request(`${url}/graphql`, { agent, method: 'POST', headers }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk
      })
      response.on('end', () => (text.includes('"id"') ? resolve() : reject(new Error(text))))
    })
    call.on('error', reject).end(body)
  })
}

/** What the server's process has used, its threads included. */
function cpuMs() {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) * msPerTick
}

function percentiles(values) {
  values.sort((a, b) => a - b)
  const at = (share) => Number((values[Math.floor(values.length * share)] ?? 0).toFixed(1))
  return { p50: at(0.5), p99: at(0.99) }
}
