// The body of a request, bounded, whether its length was announced or not.
import type { IncomingMessage } from 'node:http'

/** How many times the limit is read and thrown away, so that a client which sends too much gets to read the answer. */
const discardedTimesMax = 4

/** The text; null where it is over the limit. Fails where the client breaks off. */
export async function readBody(request: IncomingMessage, bytesMax: number): Promise<string | null> {
  if (request.method === 'GET' || request.method === 'HEAD') return ''
  if (Number(request.headers['content-length'] ?? 0) > bytesMax) {
    discard(request, bytesMax)
    return null
  }
  const chunks: Buffer[] = []
  let bytes = 0
  return new Promise((resolve, reject) => {
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes <= bytesMax) return void chunks.push(chunk)
      request.removeAllListeners('data')
      discard(request, bytesMax)
      resolve(null)
    })
    request.once('end', () => resolve(Buffer.concat(chunks).toString()))
    request.once('error', reject)
  })
}

function discard(request: IncomingMessage, bytesMax: number): void {
  let bytes = 0
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > discardedTimesMax * bytesMax) request.destroy()
  })
}
