// What the clients of each server say, on raw sockets: as little work as there can be, since they share the processors with
// what is measured.
import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'

/**
 * Each: the upgrade's path and headers, what to say first, and what each text means: `ready`, a delivery, or an answer.
 */
const protocols = {
  graphql: {
    path: () => '/graphql',
    headers: () => 'Sec-WebSocket-Protocol: graphql-transport-ws\r\n',
    first: (token) => JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } }),
    take(text, say, document) {
      if (text.startsWith('{"type":"connection_ack"')) {
        say(JSON.stringify({ id: '1', type: 'subscribe', payload: { query: document } }))
        return 'ready'
      }
      if (text.startsWith('{"type":"ping"')) return void say('{"type":"pong"}')
      return text.includes('"type":"next"') && !text.includes('"errors"') ? 'delivery' : 'wrong'
    },
  },
  plain: {
    path: () => '/',
    headers: (token) => `Authorization: Bearer ${token}\r\n`,
    take: (text) => (text === 'ready' ? 'ready' : 'delivery'),
  },
  'socket.io': {
    path: () => '/socket.io/?EIO=4&transport=websocket',
    headers: () => '',
    take(text, say, _, token) {
      if (text[0] === '0') return void say(`40${JSON.stringify({ token })}`)
      if (text[0] === '2') return void say('3')
      if (text.startsWith('40')) return 'ready'
      return text.startsWith('42') ? 'delivery' : 'wrong'
    },
  },
  nchan: {
    path: (userId) => `/subscribe?user=${userId}`,
    headers: (token) => `Authorization: Bearer ${token}\r\n`,
    isReadyAtOnce: true,
    take: () => 'delivery',
  },
}

export const documents = {
  peer: 'subscription { notifications { id title body createdAt } }',
  // A client of ours needs the cursor too, to come back with.
  carillon: 'subscription { notifications { id seq title body createdAt cursor } }',
}

/**
 * Resolves with the socket when the server has accepted it. `onDelivery` has the text of each frame that delivers.
 * What goes wrong later is thrown, and ends the process of the clients: a load would wait for ever.
 */
export function subscribe({ protocol, port, userId, token, document, localAddress }, onDelivery) {
  const { path, headers, first, take, isReadyAtOnce } = protocols[protocol]
  return new Promise((resolve, reject) => {
    let isReady = false
    const succeed = () => {
      isReady = true
      resolve(socket)
    }
    const fail = (error) => {
      if (isReady) throw error
      reject(error)
    }
    const socket = openWebSocket({
      port,
      localAddress,
      path: path(userId),
      headers: headers(token),
      onOpen(say) {
        if (first) say(first(token))
        if (isReadyAtOnce) succeed()
      },
      onText(text, say) {
        const meaning = take(text, say, document, token)
        if (meaning === 'delivery') onDelivery(text)
        else if (meaning === 'ready') succeed()
        else if (meaning === 'wrong') fail(new Error(text))
      },
      onFail: fail,
    })
  })
}

/** A WebSocket of texts of 65,535 bytes at most. `onFail` is called too where the server closes it. */
export function openWebSocket({ port, localAddress, path, headers, onOpen, onText, onFail }) {
  const socket = connect({ port, host: '127.0.0.1', localAddress, noDelay: true })
  const say = (text) => socket.write(frame(text))
  let pending = Buffer.alloc(0)
  let isUpgraded = false
  socket.on('error', onFail)
  socket.on('end', () => onFail(new Error('the server closed a connection')))
  socket.on('connect', () => {
    const key = randomBytes(16).toString('base64')
    socket.write(
      `GET ${path} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        `Sec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n${headers}\r\n`,
    )
  })
  socket.on('data', (chunk) => {
    let bytes = pending.length > 0 ? Buffer.concat([pending, chunk]) : chunk
    if (!isUpgraded) {
      const end = bytes.indexOf('\r\n\r\n')
      pending = bytes
      if (end < 0) return
      if (!bytes.toString('latin1', 0, 12).endsWith('101')) return onFail(new Error(bytes.toString('latin1', 0, end)))
      isUpgraded = true
      bytes = bytes.subarray(end + 4)
      onOpen(say)
    }
    while (bytes.length >= 2) {
      let length = bytes[1] & 127
      let offset = 2
      if (length === 126) {
        if (bytes.length < 4) break
        length = bytes.readUInt16BE(2)
        offset = 4
      }
      if (bytes.length < offset + length) break
      const opcode = bytes[0] & 15
      const text = bytes.toString('latin1', offset, offset + length)
      bytes = bytes.subarray(offset + length)
      if (opcode === 9) socket.write(frame(text, 10))
      else if (opcode === 8) onFail(new Error(`the server closed a connection: ${text}`))
      else if (opcode === 1) onText(text, say)
    }
    pending = bytes
  })
  return socket
}

/** With a mask of zeros, which changes nothing. */
function frame(text, opcode = 1) {
  const payload = Buffer.from(text, 'latin1')
  const { length } = payload
  const head = length < 126 ? [0x80 | opcode, 0x80 | length] : [0x80 | opcode, 0xfe, length >> 8, length & 255]
  return Buffer.concat([Buffer.from(head), Buffer.alloc(4), payload])
}
