// What it was measured on.
import { spawnSync } from 'node:child_process'
import { cpus, release, totalmem } from 'node:os'

export function describeMachine({ postgresVersion }) {
  return {
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 1024 ** 3),
    kernel: release(),
    node: process.version,
    postgres: postgresVersion,
    redis: versionOf('redis-server', ['--version'], /v=(\S+)/),
    nginx: versionOf('nginx', ['-v'], /nginx\/(\S+)/),
  }
}

export function machineText({ cpu, cores, memoryGb, kernel, node, postgres, redis, nginx }) {
  const programs = [`Node ${node}`, `PostgreSQL ${postgres}`, `Redis ${redis}`, ...(nginx ? [`nginx ${nginx}`] : [])]
  return `${cores} cores of ${cpu}, ${memoryGb} GB, Linux ${kernel}; ${programs.join(', ')}`
}

function versionOf(program, args, pattern) {
  const { stdout = '', stderr = '' } = spawnSync(program, args, { encoding: 'utf8' })
  return pattern.exec(`${stdout}${stderr}`)?.[1] ?? null
}
