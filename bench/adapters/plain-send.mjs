// The send over HTTP of the adapters without GraphQL: on bare `node:http`, the same work as the mutations do.
import { insert, notificationOf, senderOf } from './common.mjs'

/** Answers `POST` of `{ variables: { input: { userId, title, body } } }` once the row is committed and published. */
export function answerSends(publish) {
  return (request, response) => {
    let text = ''
    request.setEncoding('utf8').on('data', (chunk) => {
      text += chunk
    })
    request.on('end', async () => {
      try {
        await senderOf(request.headers.authorization)
        const { input } = JSON.parse(text).variables
        const notification = notificationOf(input)
        await insert(input.userId, notification)
        await publish(input.userId, notification)
        answer(response, 200, { data: { sendNotification: { notification: { id: notification.id } } } })
      } catch (error) {
        answer(response, 500, { errors: [{ message: error.message }] })
      }
    })
  }
}

function answer(response, status, value) {
  const text = JSON.stringify(value)
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
  response.end(text)
}
