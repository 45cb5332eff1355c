// Tokens as every server here verifies them: HS256, by the run's secret.
import { createHmac } from 'node:crypto'

const secret = process.env.BENCH_JWT_SECRET

export function tokenOf(sub, scope) {
  const now = Math.floor(Date.now() / 1_000)
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ sub, scope, iat: now, exp: now + 3_600 })}`
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}
