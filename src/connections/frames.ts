// Messages of WebSocket as bytes (RFC 6455, section 5.2): whole, unmasked as a server's are, uncompressed.

const finalText = 0x81
const finalPing = 0x89
/** Lengths from here on take two more bytes, and from the next eight. */
const length16 = 126
const length64 = 65_536

/** Of at most 125 bytes, as the protocol has it. */
export function pingFrame(payload: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(2 + payload.length)
  bytes[0] = finalPing
  bytes[1] = payload.length
  payload.copy(bytes, 2)
  return bytes
}

/** One behind the other. */
export function textFrames(messages: readonly { text: string }[]): Buffer {
  let total = 0
  const lengths: number[] = []
  for (const { text } of messages) {
    const length = Buffer.byteLength(text)
    lengths.push(length)
    total += headerLength(length) + length
  }
  const bytes = Buffer.allocUnsafe(total)
  let offset = 0
  for (let index = 0; index < messages.length; index++) {
    const { text = '' } = messages[index] ?? {}
    offset = writeHeader(bytes, offset, lengths[index] ?? 0)
    offset += bytes.write(text, offset)
  }
  return bytes
}

function headerLength(length: number): number {
  if (length < length16) return 2
  return length < length64 ? 4 : 10
}

function writeHeader(bytes: Buffer, offset: number, length: number): number {
  bytes[offset] = finalText
  if (length < length16) return bytes.writeUInt8(length, offset + 1)
  if (length < length64) {
    bytes[offset + 1] = 126
    return bytes.writeUInt16BE(length, offset + 2)
  }
  bytes[offset + 1] = 127
  return bytes.writeBigUInt64BE(BigInt(length), offset + 2)
}
