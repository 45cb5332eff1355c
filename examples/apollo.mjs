import { ApolloClient, gql, InMemoryCache } from '@apollo/client'
import { GraphQLWsLink } from '@apollo/client/link/subscriptions'
import { remember, socket } from './socket.mjs'

const client = new ApolloClient({ cache: new InMemoryCache(), link: new GraphQLWsLink(socket) })
const query = gql`
  subscription {
    notifications { id title cursor }
  }
`
client.subscribe({ query }).subscribe(({ data, error }) => {
  if (error) throw error
  console.log(data.notifications.title)
  remember(data.notifications)
})
