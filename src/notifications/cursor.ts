// Cursors: places in one user's log, opaque and signed for their owner, so that nobody makes one up or uses another
// user's. The layout may change behind the version byte; docs/PROTOCOL.md promises nothing about it.
//
//   version 1 | flags 1 | epoch 8 | seq 4 | createdAt 6 | stateVersion 6, with flag 1 | HMAC-SHA256 cut to 10
//
// The signature covers the bytes before it and the user's id. Ten bytes: a guess succeeds once in 2^80.
import { timingSafeEqual } from 'node:crypto'
import { CarillonError } from '../errors.ts'
import { createHmacSha256 } from '../hmac.ts'
import type { InboxState, Notification, Position } from './notification.ts'

const version = 1
const flagStateVersion = 1
const signatureBytes = 10
const plainBytes = 20
const withStateBytes = 26
/** Base64url of the longer kind: anything longer is not looked at. */
const cursorCharactersMax = 48

export interface Cursors {
  encode(userId: string, epoch: string, position: Position): string
  /**
   * Fails with CURSOR_INVALID where it isn't a cursor of this user's log. Does not compare epochs: whoever reads with it
   * compares with the one that the database answers.
   */
  decode(userId: string, cursor: string): Position & { epoch: string }
}

/** `key` is the database's (`carillon_state.cursor_key`), so that every instance reads what any of them wrote. */
export function createCursors(key: Buffer): Cursors {
  const hmac = createHmacSha256(key)
  const sign = (payload: Buffer, userId: string) => hmac(payload, userId).subarray(0, signatureBytes)
  return {
    encode(userId, epoch, { seq, createdAt, stateVersion }) {
      const bytes = stateVersion === undefined ? plainBytes : withStateBytes
      const cursor = Buffer.allocUnsafe(bytes + signatureBytes)
      cursor[0] = version
      cursor[1] = stateVersion === undefined ? 0 : flagStateVersion
      cursor.write(epoch, 2, 8, 'hex')
      cursor.writeUInt32BE(seq, 10)
      cursor.writeUIntBE(createdAt, 14, 6)
      if (stateVersion !== undefined) cursor.writeUIntBE(stateVersion, 20, 6)
      cursor.set(sign(cursor.subarray(0, bytes), userId), bytes)
      return cursor.toString('base64url')
    },
    decode(userId, cursor) {
      const bytes = cursor.length <= cursorCharactersMax ? Buffer.from(cursor, 'base64url') : Buffer.alloc(0)
      const payload = bytes.subarray(0, -signatureBytes)
      const hasState = payload.length === withStateBytes
      const isWhole =
        (payload.length === plainBytes || hasState) &&
        payload.readUInt8(0) === version &&
        payload.readUInt8(1) === (hasState ? flagStateVersion : 0) &&
        timingSafeEqual(sign(payload, userId), bytes.subarray(-signatureBytes))
      if (!isWhole) throw cursorInvalid()
      return {
        epoch: payload.toString('hex', 2, 10),
        seq: payload.readUInt32BE(10),
        createdAt: payload.readUIntBE(14, 6),
        ...(hasState && { stateVersion: payload.readUIntBE(20, 6) }),
      }
    },
  }
}

export function cursorInvalid(): CarillonError {
  return new CarillonError('CURSOR_INVALID', 'not a cursor of this log')
}

/** Resumes after this notification; the same in every list and on every stream. */
export function notificationCursor(cursors: Cursors, notification: Notification): string {
  return cursors.encode(notification.userId, notification.epoch, {
    seq: notification.seq,
    createdAt: notification.createdAt,
  })
}

/** The head of the inbox. */
export function headCursor(cursors: Cursors, inbox: InboxState): string {
  return cursors.encode(inbox.userId, inbox.epoch, { seq: inbox.seq, createdAt: inbox.createdAt })
}
