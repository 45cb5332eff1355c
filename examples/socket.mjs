// A WebSocket that comes back by itself, for ever, and resumes after the newest notification.
import { createClient } from 'graphql-ws'
import WebSocket from 'ws' // Browsers, and Node from version 22 on, have their own.

const url = process.env.SERVER ?? 'http://localhost:4000'
let newest
let unanswered

export function remember({ cursor }) {
  newest = cursor
}

export const socket = createClient({
  url: `${url.replace('http', 'ws')}/graphql`,
  webSocketImpl: WebSocket,
  // Called for each connection. It must not fail.
  connectionParams: () => ({ authorization: `Bearer ${process.env.ALICE}`, after: newest }),
  retryAttempts: Number.POSITIVE_INFINITY,
  shouldRetry: () => true,
  retryWait: (retries) => new Promise((resolve) => setTimeout(resolve, waitMs(retries))),
  keepAlive: 12_000,
  on: {
    ping: (received) => {
      if (!received) unanswered = setTimeout(() => socket.terminate(), 5_000)
    },
    pong: (received) => received && clearTimeout(unanswered),
    closed: () => clearTimeout(unanswered),
  },
})

function waitMs(retries) {
  return Math.min(1_000 * 2 ** retries, 30_000) * (0.5 + Math.random() / 2)
}
