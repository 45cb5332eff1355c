// What travels between processes: one batch's messages for the users of one channel. Ahead of them stand who sent it, whose
// own echo it is not worth parsing, and the users, each with the length of its message, so that a process parses only what
// it has listeners for:
//
//   ["5f0c…","alice",31,"bob",28]\n{…31 bytes of JSON…}{…28 bytes of JSON…}
//
// JSON escapes line feeds, so the first one ends the header.
import type { Addressed } from './bus.ts'

const lineFeed = 10

/** One text a channel. Messages of one user keep their order. `sender` needs no escaping in JSON. */
export function writeEnvelopes<Message>(
  sender: string,
  batch: readonly Addressed<Message>[],
  channelOf: (userId: string) => string,
): Map<string, string> {
  const open = new Map<string, { header: (string | number)[]; body: string }>()
  for (const { userId, message, brief = message } of batch) {
    const channel = channelOf(userId)
    let envelope = open.get(channel)
    if (!envelope) {
      envelope = { header: [sender], body: '' }
      open.set(channel, envelope)
    }
    const json = JSON.stringify(brief)
    envelope.header.push(userId, Buffer.byteLength(json))
    envelope.body += json
  }
  const texts = new Map<string, string>()
  for (const [channel, { header, body }] of open) texts.set(channel, `${JSON.stringify(header)}\n${body}`)
  return texts
}

/** Whether this sender wrote it. */
export function isFrom(sender: string, payload: Buffer): boolean {
  const start = `["${sender}",`
  return payload.toString('latin1', 0, start.length) === start
}

/** Hands each wanted user's message to `take`, still as JSON, in order. Throws where the payload stops being an envelope. */
export function readEnvelope(
  payload: Buffer,
  isWanted: (userId: string) => boolean,
  take: (userId: string, json: string) => void,
): void {
  const headerEnd = payload.indexOf(lineFeed)
  if (headerEnd === -1) throw new Error('no header')
  const header: unknown = JSON.parse(payload.toString('utf8', 0, headerEnd))
  if (!Array.isArray(header)) throw new Error('the header is no list')
  let start = headerEnd + 1
  for (let index = 1; index < header.length; index += 2) {
    const userId: unknown = header[index]
    const length: unknown = header[index + 1]
    if (typeof userId !== 'string' || typeof length !== 'number') throw new Error('the header is no list of users')
    const end = start + length
    if (!(end > start && end <= payload.length)) throw new Error('a length does not fit the payload')
    if (isWanted(userId)) take(userId, payload.toString('utf8', start, end))
    start = end
  }
}
