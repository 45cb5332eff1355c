// Over server-sent events: the same guarantees, where WebSockets do not get through.
import { createClient } from 'graphql-sse'

const url = process.env.SERVER ?? 'http://localhost:4000'
let newest

const client = createClient({
  url: `${url}/graphql`,
  headers: () => ({
    authorization: `Bearer ${process.env.ALICE}`,
    ...(newest && { 'last-event-id': newest }),
  }),
  retryAttempts: Number.POSITIVE_INFINITY,
  retry: (retries) => new Promise((resolve) => setTimeout(resolve, Math.min(1_000 * 2 ** retries, 30_000))),
})
const query = 'subscription { notifications { id title cursor } }'
for await (const { data, errors } of client.iterate({ query })) {
  if (errors) throw new AggregateError(errors)
  console.log(data.notifications.title)
  newest = data.notifications.cursor
}
