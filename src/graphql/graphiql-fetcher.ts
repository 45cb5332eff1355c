// The fetcher of GraphiQL's page, as text: it runs in the browser. Queries and mutations go over HTTP, subscriptions over
// a WebSocket of their own at the same address, each with what the headers tab holds.

/** A JavaScript expression: `(params, { headers, documentAST }) => Promise<result> | AsyncIterable<result>`. */
export const fetcher = `((params, options) => {
  const headers = (options && options.headers) || {}
  const definitions = (options && options.documentAST && options.documentAST.definitions) || []
  const operation = definitions.find(
    ({ kind, name }) => kind === 'OperationDefinition' && (!params.operationName || (name && name.value === params.operationName)),
  )
  if (!operation || operation.operation !== 'subscription') {
    return fetch(location.pathname, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json', accept: 'application/json' },
      body: JSON.stringify({ query: params.query, operationName: params.operationName, variables: params.variables }),
    }).then((response) => response.json())
  }
  return (async function* () {
    const socket = new WebSocket(location.origin.replace(/^http/, 'ws') + location.pathname, 'graphql-transport-ws')
    const messages = []
    let wake = () => {}
    const receive = (message) => { messages.push(message); wake() }
    socket.onopen = () => {
      const { authorization, ...others } = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
      socket.send(JSON.stringify({ type: 'connection_init', payload: { ...others, authorization } }))
    }
    socket.onmessage = ({ data }) => receive(JSON.parse(data))
    socket.onclose = ({ code, reason }) => receive({ type: 'closed', payload: code + ' ' + reason })
    try {
      for (;;) {
        while (messages.length === 0) await new Promise((resolve) => { wake = resolve })
        const { type, payload } = messages.shift()
        if (type === 'connection_ack') {
          socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: {
            query: params.query, operationName: params.operationName, variables: params.variables,
          } }))
        } else if (type === 'ping') socket.send(JSON.stringify({ type: 'pong' }))
        else if (type === 'next') yield payload
        else if (type === 'error') { yield { errors: payload }; return }
        else if (type === 'complete') return
        else if (type === 'closed') { yield { errors: [{ message: 'The connection was closed: ' + payload }] }; return }
      }
    } finally {
      socket.close(1000)
    }
  })()
})`
