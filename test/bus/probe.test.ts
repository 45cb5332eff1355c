import { ReplyError } from 'ioredis'
import { expect, test } from 'vitest'
import { createProbe, probeBoundMs, probeIntervalMs, probeTickMs } from '../../src/bus/probe.ts'

const ticksToNotice = probeBoundMs / probeTickMs

/** A probe whose messages come back, are answered or are kept as the test says. */
function setUp(answer: () => Promise<void> | undefined = () => Promise.resolve()) {
  const sent: string[] = []
  const seen = { silences: 0, lags: 0 }
  const probe = createProbe({
    send(payload) {
      sent.push(payload)
      return answer()
    },
    onLag: () => void seen.lags++,
    onSilent: () => void seen.silences++,
  })
  const tick = async (times = 1) => {
    for (let i = 0; i < times; i++) {
      probe.tick()
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  return { probe, sent, seen, tick }
}

test('notices silence within two intervals, and again after as much more', async () => {
  expect(probeBoundMs).toBeLessThan(2 * probeIntervalMs)
  const { probe, sent, seen, tick } = setUp()
  await tick()
  probe.hear(sent[0] ?? '')
  await tick(ticksToNotice - 1)
  expect(seen.silences).toBe(0)
  await tick()
  expect(seen.silences).toBe(1)
  expect(probe.problem()).toContain('do not come back')
  await tick(ticksToNotice - 1)
  expect(seen.silences).toBe(2)
  probe.hear(sent.at(-1) ?? '')
  expect(probe.problem()).toBeUndefined()
})

test('does not mind one that is lost, nor that each comes late, by less than an interval', async () => {
  const lossy = setUp()
  for (let round = 0; round < 5; round++) {
    await lossy.tick(2)
    lossy.probe.hear(lossy.sent.at(-1) ?? '')
  }
  expect(lossy.seen).toEqual({ silences: 0, lags: 5 })

  const late = setUp()
  await late.tick()
  for (let round = 0; round < 5; round++) {
    await late.tick()
    late.probe.hear(late.sent.at(-2) ?? '')
  }
  expect(late.seen).toEqual({ silences: 0, lags: 5 })
})

test('takes no answer for silence, no connection to send over for nothing at all', async () => {
  const unanswered = setUp(() => Promise.reject(new Error('Command timed out')))
  await unanswered.tick(ticksToNotice)
  expect(unanswered.seen.silences).toBe(1)
  const unconnected = setUp(() => undefined)
  await unconnected.tick(3 * ticksToNotice)
  expect(unconnected.seen.silences).toBe(0)
  expect(unconnected.probe.problem()).toBeUndefined()
})

test('goes on counting what is on its way while there is no connection to send more', async () => {
  let connected = true
  const { seen, tick } = setUp(() => (connected ? Promise.reject(new Error('Connection is closed.')) : undefined))
  await tick()
  connected = false
  await tick(ticksToNotice - 1)
  expect(seen.silences).toBe(1)
  await tick(2 * ticksToNotice)
  expect(seen.silences).toBe(1)
})

test('says why Redis refuses to publish, until it does not, and does not take it for silence', async () => {
  let refused = true
  const { probe, seen, tick } = setUp(() =>
    refused ? Promise.reject(new ReplyError('NOPERM no permission')) : Promise.resolve(),
  )
  await tick(3 * ticksToNotice)
  expect(seen.silences).toBe(0)
  expect(probe.problem()).toContain('NOPERM')
  refused = false
  await tick()
  expect(probe.problem()).toBeUndefined()
})

test('ignores what it has not sent', async () => {
  const { probe, seen, tick } = setUp()
  for (const payload of ['', 'hello', 'NaN', String(performance.now() + 1e6)]) {
    probe.hear(payload === '' ? 'x' : payload)
  }
  expect(seen.lags).toBe(0)
  await tick(ticksToNotice)
  expect(seen.silences).toBe(1)
})
