// Instances whose clocks are an hour off: what the database stamps and compares goes by its clock, and is not harmed by
// theirs. Tokens alone go by the clock of who looks at them, within the skew that is allowed.
import { SignJWT } from 'jose'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { clockSkewSecondsMax } from '../../src/auth.ts'
import { jwtSecret, request } from '../support/server.ts'
import { type FaultFleet, startFaultFleet } from './support/fleet.ts'
import { figure, sized } from './support/scale.ts'
import { flawless, quantile, Workload } from './support/workload.ts'

const minute = 60
const hour = 60 * minute
/** Places of instances, and how many seconds their clocks are off. */
const [right, ahead, behind, slow] = [0, 1, 2, 3] as const
const offBy = { [right]: 0, [ahead]: hour, [behind]: -hour, [slow]: -20 }
/** What a delivery may take on a loaded machine. */
const slackMs = 2_000

let fleet: FaultFleet
beforeAll(async () => {
  fleet = await startFaultFleet({
    instances: 4,
    nodeArguments: { [ahead]: withClock(offBy[ahead]), [behind]: withClock(offBy[behind]), [slow]: withClock(-20) },
  })
})
afterAll(() => fleet[Symbol.asyncDispose]())

test('clocks an hour ahead and behind change neither the order nor what is delivered', async () => {
  // All of it expires in half an hour, which is over for one and an hour and a half away for another.
  const expiresAt = new Date(Date.now() + 30 * minute * 1_000).toISOString()
  await using workload = await Workload.start({
    fleet,
    input: { expiresAt },
    tokenFor: (sub, scopes) => sign(sub, { iat: -2 * hour, exp: 2 * hour }, scopes),
  })
  await vi.waitFor(() => expect(workload.writers.accepted.length).toBeGreaterThan(sized(100, 2_000)), 60_000)
  expect(await workload.verdict()).toEqual(flawless)
  expect(workload.writers.failures).toEqual(new Map())
  const p99 = quantile(workload.latencies(), 0.99)
  figure('21. clocks an hour off', { accepted: workload.writers.accepted.length, 'p99 of delivery ms': p99 })
  expect(p99).toBeLessThan(slackMs)
})

test('what expires goes by the clock of the database', async () => {
  const send = async (place: number, inSeconds: number) => {
    const input = { userId: 'expiry', title: 'x', expiresAt: new Date(Date.now() + inSeconds * 1_000).toISOString() }
    const text = 'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { duplicate } }'
    const token = await sign('service', { iat: -2 * hour, exp: 2 * hour }, ['notifications:send'])
    const { data, errors } = await request(fleet.instance(place).url, token, text, { input })
    return data?.sendNotification ? 'accepted' : errors?.[0]?.extensions.code
  }
  const places = [right, ahead, behind]
  const toCome = await Promise.all(places.map((place) => send(place, 30 * minute)))
  const over = await Promise.all(places.map((place) => send(place, -minute)))
  const [at, past] = [toCome, over].map((outcomes) => outcomes.join(' '))
  figure('21. what expires, right, an hour ahead and behind', {
    'in half an hour': at ?? '',
    'a minute ago': past ?? '',
  })
  expect(toCome).toEqual(places.map(() => 'accepted'))
  expect(over).toEqual(places.map(() => 'BAD_USER_INPUT'))
})

test('a token goes by the clock of the instance: exact in its end, with a skew in its beginning', async () => {
  /** Of each instance, the code that it answers with. */
  const answers = async (seconds: { iat?: number; nbf?: number; exp: number }) => {
    const token = await sign('somebody', seconds)
    const codes = fleet.instances.map(async ({ url }) => {
      const { errors } = await request(url, token, '{ inbox { unreadCount } }')
      return errors?.[0]?.extensions.code ?? 'ok'
    })
    const all = (await Promise.all(codes)).join(' ')
    figure('21. tokens, right, ahead, behind and 20 s behind', { [JSON.stringify(seconds)]: all })
    return all
  }
  const no = 'UNAUTHENTICATED'
  expect(clockSkewSecondsMax).toBe(30)
  //                                                           right ahead behind slow
  expect(await answers({ iat: 0, exp: 2 * hour })).toBe(`ok ok ${no} ok`)
  expect(await answers({ nbf: 0, exp: 2 * hour })).toBe(`ok ok ${no} ok`)
  expect(await answers({ iat: 20, nbf: 20, exp: 2 * hour })).toBe(`ok ok ${no} ${no}`)
  expect(await answers({ iat: -hour, nbf: -hour, exp: 2 * hour })).toBe('ok ok ok ok')
  expect(await answers({ exp: 30 * minute })).toBe(`ok ${no} ok ok`)
  expect(await answers({ exp: -10 })).toBe(`${no} ${no} ok ok`)
  expect(await answers({ exp: -30 * minute })).toBe(`${no} ${no} ok ${no}`)
})

/** Claims in seconds from now. */
function sign(sub: string, seconds: { iat?: number; nbf?: number; exp: number }, scopes: string[] = []) {
  const now = Math.floor(Date.now() / 1_000)
  const claims = Object.entries(seconds).map(([name, from]) => [name, now + from])
  return new SignJWT({ ...Object.fromEntries(claims), sub, scope: scopes.join(' ') })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(jwtSecret))
}

/** Arguments for a Node whose clock is off. What measures spans of time is not. */
function withClock(offBySeconds: number): string[] {
  const module = `
    const offByMs = ${offBySeconds * 1_000}
    const { now } = Date
    Date.now = () => now() + offByMs
    globalThis.Date = new Proxy(Date, {
      construct: (target, values, made) => Reflect.construct(target, values.length > 0 ? values : [target.now()], made),
      apply: (target) => new target(target.now()).toString(),
    })
    Object.defineProperty(performance, 'timeOrigin', { value: performance.timeOrigin + offByMs })`
  return ['--import', `data:text/javascript,${encodeURIComponent(module)}`]
}
