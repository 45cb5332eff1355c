// The harness itself: without what has to notice a failure, the case that matches it must go wrong. A case that passes with
// a broken program proves nothing.
import { describe, expect, test } from 'vitest'
import type { Sabotage } from '../support/built.ts'
import { startFaultFleet } from './support/fleet.ts'
import { loseLastDoorbells, noticeMsMax, silenceSubscriber, slackMs } from './support/redis-cases.ts'

/** As in the cases that they match (redis.test.ts), in the short form. */
const tailCheckMs = 1_000

const noTailCheck: Sabotage = {
  file: 'notifications/tail-check.js',
  find: 'await check([...(slices[round++ % slicesPerInterval] ?? [])]);',
  replace: '',
}
const noProbe: Sabotage = { file: 'bus/bus-redis.js', find: 'probe.tick();', replace: '' }

// Each waits for what does not happen, so they wait at the same time.
describe.concurrent('a control', () => {
  test('without the tail check the last notifications are lost', async () => {
    await using fleet = await startFaultFleet({
      env: { CARILLON_TAIL_CHECK_MS: String(tailCheckMs) },
      sabotage: [noTailCheck],
    })
    const { verdict } = await loseLastDoorbells(fleet, tailCheckMs)
    expect(verdict.lost).not.toEqual([])
  })

  test('without the probe a silent connection is not noticed', async () => {
    await using fleet = await startFaultFleet({ sabotage: [noProbe] })
    const { noticedMs } = await silenceSubscriber(fleet)
    expect(Math.max(...noticedMs)).toBeGreaterThan(noticeMsMax + slackMs)
  })
})
