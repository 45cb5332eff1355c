// How a workload tells a server to publish: lines of TCP, the same for every adapter. `<user's index> <text>` is to one
// user, `*<how many there are> <text>` to all.
import { once } from 'node:events'
import { createServer } from 'node:net'

/** Calls `publish(userId, text)` or `broadcast(text, users)` for each line. Returns the port. */
export async function serveControl(publish, broadcast) {
  const server = createServer({ noDelay: true }, (socket) => {
    let rest = ''
    socket.setEncoding('latin1').on('data', (chunk) => {
      const text = rest + chunk
      let start = 0
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', start)) {
        const space = text.indexOf(' ', start)
        const body = text.slice(space + 1, end)
        if (text[start] === '*') broadcast(body, Number(text.slice(start + 1, space)))
        else publish(`user-${text.slice(start, space)}`, body)
        start = end + 1
      }
      rest = text.slice(start)
    })
    socket.on('error', () => socket.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server.address().port
}
