// Whatever a user's devices, the senders and the network do, in whatever order: each stream yields what it promises, and
// history, counters and a device that folds events agree with a model of the log (support/inbox-model.ts).
import fc from 'fast-check'
import { afterAll, beforeAll, test } from 'vitest'
import { type Action, type Change, createCheckedInbox } from '../support/checked-inbox.ts'
import { idsMarks, upToMarks } from '../support/inbox-model.ts'
import { type Fleet, serviceToken, startFleet } from '../support/server.ts'

const runsMax = 200
/** Fewer runs on a slow machine, rather than a test that takes for ever. */
const allRunsMs = 25_000
const actionsMax = 30

/** Stands for one of however many there are. */
const pick = fc.nat({ max: 999 })
const at = fc.nat({ max: 1 })
const isArgument = fc.boolean()
const sending = fc.record({
  at,
  // Two of the many are more than a page of the log.
  count: fc.oneof({ weight: 5, arbitrary: fc.integer({ min: 1, max: 4 }) }, fc.constant(60)),
  isBatch: fc.boolean(),
})
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ kind: fc.constant('ids'), mark: fc.constantFrom(...idsMarks), ids: fc.array(pick, { maxLength: 4 }) }),
  fc.record({
    kind: fc.constant('upTo'),
    mark: fc.constantFrom(...upToMarks),
    upTo: pick,
    after: fc.option(pick),
  }),
  fc.record({ kind: fc.constant('retract'), which: pick }),
)
const after = fc.oneof(pick, fc.constant('start'), fc.constant(null))
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant('connect'), at, isArgument, isInbox: fc.boolean(), after }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('drop'), which: pick }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('resume'), at, isArgument, which: pick }) },
  { weight: 4, arbitrary: fc.record({ type: fc.constant('send'), sending }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('change'), at, change }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('both'), at, sending, change }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('settle') }) },
)

let fleet: Fleet
beforeAll(async () => {
  // Without the tail check, which would make up for what the streams have to do by themselves; and with channels enough
  // for each user's first stream to find its own not joined yet.
  fleet = await startFleet({ instances: 2, env: { CARILLON_TAIL_CHECK_MS: '60000', CARILLON_BUS_CHANNELS: '1024' } })
})
afterAll(() => fleet[Symbol.asyncDispose]())

test('streams, history and counters are what a simple model of the log says', { timeout: 120_000 }, async () => {
  const urls = fleet.servers.map(({ url }) => url)
  const service = await serviceToken()
  let users = 0
  const actions = fc.array(action, { minLength: 1, maxLength: actionsMax, size: 'max' })
  const property = fc.asyncProperty(actions, async (actions) => {
    await using inbox = await createCheckedInbox({ urls, service, userId: `property-user-${++users}` })
    for (const one of actions) await inbox.perform(one)
    await inbox.check()
  })
  await fc.assert(property, { numRuns: runsMax, interruptAfterTimeLimit: allRunsMs })
})
