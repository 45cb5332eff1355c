// A real Chromium, whose pages tell what they asked for and what went wrong in them.
import { chromium, type Page } from 'playwright-core'
import { requireProgram } from './programs.ts'

export interface TestBrowser extends AsyncDisposable {
  /** A tab; all tabs share their storage. */
  open(url: string): Promise<Page>
  /** Of every request and WebSocket of any tab. What a page makes itself (blob:, data:) has none. */
  readonly hosts: ReadonlySet<string>
  /** Errors on the console, among them what the content security policy refused, and exceptions that nobody caught. */
  readonly problems: readonly string[]
}

export async function startBrowser(): Promise<TestBrowser> {
  const executablePath = await requireProgram('chromium', 'chromium')
  // Its sandbox does not work for root.
  const args = process.getuid?.() === 0 ? ['--no-sandbox'] : []
  const browser = await chromium.launch({ executablePath, args })
  const context = await browser.newContext({ viewport: { width: 1_400, height: 900 } })
  const hosts = new Set<string>()
  const problems: string[] = []
  const asked = (url: string) => {
    const { host } = new URL(url)
    if (host !== '') hosts.add(host)
  }
  context.on('request', (request) => asked(request.url()))
  context.on('console', (message) => void (message.type() === 'error' && problems.push(message.text())))
  context.on('weberror', (error) => void problems.push(error.error().message))
  return {
    hosts,
    problems,
    async open(url) {
      const page = await context.newPage()
      page.on('websocket', (webSocket) => asked(webSocket.url()))
      await page.goto(url)
      return page
    },
    [Symbol.asyncDispose]: () => browser.close(),
  }
}
