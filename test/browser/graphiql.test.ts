// GraphiQL in a real browser: from this server alone, with what is in its headers tab on the WebSocket too.
import type { Page } from 'playwright-core'
import { expect, test } from 'vitest'
import { startBrowser } from '../support/browser.ts'
import { serviceToken, startFleet, tokenFor } from '../support/server.ts'

/** The page has 9 MB of scripts to read. */
const timeout = 120_000

/** The first of GraphiQL's own tabs, which holds the operations that it comes with. */
async function showOperations(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Subscribe', exact: true }).click()
}

async function setHeaders(page: Page, headers: object): Promise<void> {
  await page.getByRole('button', { name: 'Headers', exact: true }).click()
  await page.locator('section[aria-label="Headers"] .graphiql-editor:not(.hidden) .monaco-editor').first().click()
  // Another tab of the browser may have left its headers.
  await page.keyboard.press('ControlOrMeta+A')
  await page.keyboard.press('Delete')
  await page.keyboard.insertText(JSON.stringify(headers))
}

async function run(page: Page, operation: string): Promise<void> {
  // It has a menu once the editor knows its operations.
  await page.locator('.graphiql-execute-button[aria-haspopup="menu"]').click()
  await page.getByRole('menuitem', { name: operation, exact: true }).click()
}

/** What the result window shows, once it has this in it. */
async function result(page: Page, text: string): Promise<string> {
  const window = page.getByLabel('Result Window')
  await window.getByText(text).first().waitFor()
  return (await window.innerText()).replaceAll('\u00a0', ' ')
}

test('GraphiQL shows in one tab what is sent in another, and asks no other server for anything', {
  timeout,
}, async () => {
  await using fleet = await startFleet({ env: { CARILLON_GRAPHIQL: 'true' } })
  await using browser = await startBrowser()

  const reader = await browser.open(`${fleet.url}/graphql`)
  await showOperations(reader)
  await setHeaders(reader, { Authorization: `Bearer ${await tokenFor('alice')}` })
  await run(reader, 'Subscribe')

  const sender = await browser.open(`${fleet.url}/graphql`)
  await showOperations(sender)
  await setHeaders(sender, { Authorization: `Bearer ${await serviceToken()}` })
  await run(sender, 'Send')
  expect(await result(sender, 'duplicate')).toContain('"duplicate": false')

  await reader.bringToFront()
  expect(await result(reader, 'from GraphiQL')).toMatch(/"notifications": \{[^}]*"seq": 1,\s*"title": "Hello"/)
  expect([...browser.hosts]).toEqual([new URL(fleet.url).host])
  expect(browser.problems).toEqual([])
})
