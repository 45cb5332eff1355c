// Who calls operations: over HTTP or over a WebSocket, on one connection that is kept, one call under way at a time.
import { once } from 'node:events'
import { connect } from 'node:net'
import { openWebSocket } from './protocols.mjs'

/** `call(query, variables, done)`: `done` has the text of the answer. An answer with an error is thrown.
 * Over HTTP another token may follow, of another user. */
export function openCaller({ over, port, token }) {
  return over === 'websocket' ? openSocketCaller(port, token) : openHttpCaller(port, token)
}

async function openHttpCaller(port, token) {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  const headOf = (bearer) =>
    `POST /graphql HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer ${bearer}\r\nContent-Type: application/json\r\nAccept: application/json\r\n`
  const head = headOf(token)
  let text = ''
  let done = () => {}
  socket.on('end', () => check('the server closed a connection'))
  socket.setEncoding('latin1').on('data', (chunk) => {
    text += chunk
    const headEnd = text.indexOf('\r\n\r\n')
    if (headEnd < 0) return
    const length = /content-length: (\d+)/i.exec(text.slice(0, headEnd))
    const isWhole = length ? text.length >= headEnd + 4 + Number(length[1]) : text.endsWith('\r\n0\r\n\r\n')
    if (!isWhole) return
    const answer = check(text)
    text = ''
    done(answer)
  })
  return {
    call(query, variables, onAnswer, otherToken) {
      const body = JSON.stringify({ query, variables })
      done = onAnswer
      socket.write(
        `${otherToken === undefined ? head : headOf(otherToken)}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      )
    },
    close: () => socket.destroy(),
  }
}

function openSocketCaller(port, token) {
  let calls = 0
  let done = () => {}
  return new Promise((resolve, reject) => {
    const caller = {
      call(query, variables, onAnswer) {
        done = onAnswer
        say(JSON.stringify({ id: String(++calls), type: 'subscribe', payload: { query, variables } }))
      },
      close: () => socket.destroy(),
    }
    let say = () => {}
    const socket = openWebSocket({
      port,
      path: '/graphql',
      headers: 'Sec-WebSocket-Protocol: graphql-transport-ws\r\n',
      onOpen(write) {
        say = write
        say(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } }))
      },
      onText(text) {
        if (text.startsWith('{"type":"connection_ack"')) resolve(caller)
        else if (text.startsWith('{"type":"ping"')) say('{"type":"pong"}')
        else if (!text.includes('"type":"complete"')) done(check(text))
      },
      onFail: reject,
    })
  })
}

function check(text) {
  if (!text.includes('"data":{') || text.includes('"errors"') || text.includes('"error":{')) throw new Error(text)
  return text
}
