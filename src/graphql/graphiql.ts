// GraphiQL, from this server alone: the page of @graphql-yoga/render-graphiql with a fetcher of our own, since the one in
// its bundle sends the headers tab over HTTP only and a WebSocket needs its authorization too.
import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'
import { fetcher } from './graphiql-fetcher.ts'

/** A page compressed, for whoever accepts that. */
type Encoding = 'br' | 'gzip' | 'identity'

interface Page {
  html: Buffer
  etag: string
  policy: string
}

const defaultQuery = `# Put a token into the headers tab below:
#   { "authorization": "Bearer …" }
# and pick an operation with the play button.
# Subscribe in one browser tab, send in another.

# What nobody acknowledged, then what arrives.
subscription Subscribe {
  notifications {
    id
    seq
    title
    body
    priority
    createdAt
    cursor
  }
}

# Needs the scope notifications:send.
mutation Send {
  sendNotification(input: { userId: "alice", category: "demo", title: "Hello", body: "from GraphiQL" }) {
    duplicate
    notification {
      id
      seq
      createdAt
    }
  }
}

# Newest first.
query History {
  history(first: 10) {
    nodes {
      id
      seq
      title
      createdAt
      deliveredAt
      readAt
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
}

# The counters behind a badge.
query Inbox {
  inbox {
    undeliveredCount
    unseenCount
    unreadCount
    headCursor
  }
}

# Read implies seen and delivered.
mutation MarkRead($ids: [ID!]) {
  markRead(ids: $ids) {
    count
    inbox {
      unreadCount
    }
  }
}
`

/** In the options where a function belongs, which JSON can't hold. */
const fetcherMark = 'carillon-fetcher'

export interface Graphiql {
  send(request: IncomingMessage, response: ServerResponse): Promise<void>
}

/** The page is made (9 MB, some tenths of a second) when it is first asked for, and kept compressed. */
export function createGraphiql(): Graphiql {
  let page: Promise<Page> | undefined
  const encoded = new Map<Encoding, Promise<Buffer>>()

  function bodyIn(encoding: Encoding, html: Buffer): Promise<Buffer> {
    const body = encoded.get(encoding) ?? compress(html, encoding)
    encoded.set(encoding, body)
    return body
  }

  return {
    async send(request, response) {
      page ??= renderPage()
      const { html, etag, policy } = await page
      const encoding = encodingFor(request)
      const headers = {
        'content-type': 'text/html; charset=utf-8',
        'content-security-policy': policy,
        'cache-control': 'no-cache',
        etag,
        vary: 'accept, accept-encoding',
      }
      if (request.headers['if-none-match'] === etag) {
        response.writeHead(304, headers).end()
        return
      }
      const body = await bodyIn(encoding, html)
      response.writeHead(200, {
        ...headers,
        ...(encoding !== 'identity' && { 'content-encoding': encoding }),
        'content-length': body.length,
      })
      response.end(request.method === 'HEAD' ? undefined : body)
    },
  }
}

async function renderPage(): Promise<Page> {
  // Loaded here, since most processes never show it.
  const { renderGraphiQL } = await import('@graphql-yoga/render-graphiql')
  const options = { title: 'Carillon', defaultQuery, fetcher: fetcherMark }
  // A browser reads a carriage return as a line feed, and would hash another text than this.
  const text = renderGraphiQL(options)
    .replace(/\r\n?/g, '\n')
    .trimStart()
    .replace(`"${fetcherMark}"`, () => fetcher)
  const html = Buffer.from(text)
  const etag = `"${createHash('sha256').update(html).digest('base64url')}"`
  return { html, etag, policy: policyOf(text) }
}

/** Nothing but the page's own script runs, and nothing is fetched from elsewhere. Its editor needs blobs and styles. */
function policyOf(html: string): string {
  const scripts = [...html.matchAll(/<script>([\s\S]*?)<\/script>/g)].map(([, script = '']) => script)
  const hashes = scripts.map((script) => `'sha256-${createHash('sha256').update(script).digest('base64')}'`)
  return [
    "default-src 'none'",
    `script-src ${hashes.join(' ')}`,
    'worker-src blob:',
    "style-src 'unsafe-inline'",
    'img-src data:',
    'font-src data:',
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
}

function encodingFor({ headers }: IncomingMessage): Encoding {
  const accepted = headers['accept-encoding'] ?? ''
  if (/\bbr\b/.test(accepted)) return 'br'
  return /\bgzip\b/.test(accepted) ? 'gzip' : 'identity'
}

function compress(html: Buffer, encoding: Encoding): Promise<Buffer> {
  if (encoding === 'identity') return Promise.resolve(html)
  if (encoding === 'gzip') return promisify(gzip)(html)
  // The highest qualities take tens of seconds for such a page; this one half a second.
  return promisify(brotliCompress)(html, { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } })
}
