// Whether this process runs (/livez) and whether it should get requests (/readyz). Without the database nothing can be
// accepted, so that the balancer should look elsewhere; without the bus delivery is late and nothing more.
import type { BusStatus } from './bus/bus.ts'
import type { DatabaseClock } from './clock.ts'
import type { Logger } from './logger.ts'
import { startPeriodic } from './periodic.ts'

/** A failover or a restart of the database that is shorter changes nothing for a balancer. */
export const unreachableMsMax = 5_000
const checkEveryMs = 1_000

export interface HealthOptions {
  /** Adjusted at each check, by which the database is seen to answer. */
  clock: Pick<DatabaseClock, 'adjust'>
  bus?: { status(): BusStatus }
  logger: Logger
  checkMs?: number
  unreachableMs?: number
}

export interface Readiness {
  ready: boolean
  status: 'ok' | 'starting' | 'draining' | 'unavailable'
  /** Why it is not ready. */
  reason?: string
  /** What works worse than it should, and why. */
  degraded: Record<string, string>
}

export interface Health {
  readiness(): Readiness
  /** Ready from now on, while the database answers. */
  started(): void
  /** Not ready any more. */
  draining(): void
  stop(): Promise<void>
}

export function startHealth(options: HealthOptions): Health {
  const { clock, bus, logger, checkMs = checkEveryMs, unreachableMs = unreachableMsMax } = options
  let phase: 'starting' | 'running' | 'draining' = 'starting'
  /** Since when it has not been reached: the beginning of the first check that has not succeeded. */
  let lostAt: number | undefined
  let isReachable = true
  const check = startPeriodic('health', checkMs, logger, async () => {
    lostAt ??= performance.now()
    try {
      await clock.adjust()
      lostAt = undefined
      if (!isReachable) logger.info('the database is reachable again')
      isReachable = true
    } catch (error) {
      if (isReachable) logger.warn({ err: error }, 'the database is not reachable')
      isReachable = false
    }
  })

  function stateOf(): Pick<Readiness, 'status' | 'reason'> {
    if (phase === 'starting') return { status: 'starting', reason: 'the server is starting' }
    if (phase === 'draining') return { status: 'draining', reason: 'the server is going away' }
    const silentMs = lostAt === undefined ? 0 : performance.now() - lostAt
    if (silentMs < unreachableMs) return { status: 'ok' }
    return { status: 'unavailable', reason: `the database has not answered for ${Math.floor(silentMs / 1000)} s` }
  }

  return {
    readiness() {
      const state = stateOf()
      const busStatus = bus?.status()
      const degraded = busStatus && !busStatus.healthy ? { bus: busStatus.reason ?? 'it is not connected' } : {}
      return { ready: state.status === 'ok', ...state, degraded }
    },
    started() {
      if (phase === 'starting') phase = 'running'
    },
    draining() {
      phase = 'draining'
    },
    stop: () => check.stop(),
  }
}
