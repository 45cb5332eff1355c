import { Client, subscriptionExchange } from '@urql/core'
import { remember, socket } from './socket.mjs'

const forwardSubscription = ({ query, variables }) => ({
  subscribe: (sink) => ({ unsubscribe: socket.subscribe({ query, variables }, sink) }),
})
const client = new Client({
  url: 'http://localhost:4000/graphql',
  preferGetMethod: false,
  exchanges: [subscriptionExchange({ forwardSubscription })],
})
client.subscription('subscription { notifications { id title cursor } }', {}).subscribe(({ data, error }) => {
  if (error) throw error
  console.log(data.notifications.title)
  remember(data.notifications)
})
