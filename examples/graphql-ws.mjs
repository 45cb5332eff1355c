import { remember, socket } from './socket.mjs'

const query = 'subscription { notifications { id title cursor } }'
for await (const { data, errors } of socket.iterate({ query })) {
  if (errors) throw new AggregateError(errors)
  console.log(data.notifications.title)
  remember(data.notifications)
}
