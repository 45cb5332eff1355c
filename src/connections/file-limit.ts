// A connection is an open file. A process that may open no more can't even answer /livez, so that it has to refuse
// connections while some are left.
import { readFile } from 'node:fs/promises'
import type { Logger } from '../logger.ts'

/** For the database, the bus, the log, and requests that carry no subscription. */
export const reservedFiles = 500

/** `wanted`, or as many as the limit of open files allows, with a warning. Where the limit is tiny, half of it. */
export async function allowedConnections(wanted: number, logger: Logger, path = '/proc/self/limits'): Promise<number> {
  const openFilesMax = await readOpenFilesMax(path)
  const allowed = Math.max(openFilesMax - reservedFiles, Math.floor(openFilesMax / 2))
  if (wanted <= allowed) return wanted
  logger.warn(
    { openFilesMax, CARILLON_MAX_CONNECTIONS: wanted, allowed },
    'fewer connections than configured: this process may not open enough files',
  )
  return allowed
}

/** Infinity where the system doesn't say. */
async function readOpenFilesMax(path: string): Promise<number> {
  const limits = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return ''
    throw error
  })
  const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1]
  return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft)
}
