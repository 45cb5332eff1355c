// nginx with nchan from Debian: a channel a user, subscribed to over WebSocket, published to over HTTP, as its README shows.
// One worker, so that no message crosses processes. This process is the helper of both sides: it publishes, on connections
// that are kept, and in workload C it verifies the tokens, which nginx asks it to by nchan_authorize_request. What counts as
// the server is nginx alone, and for the CPU of C nginx with the helper. It stores nothing and has neither GraphQL nor sends.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort, untilListening } from '../ports.mjs'
import { claimsOf, hasBroadcasts, listen, notificationOf, ready } from './common.mjs'
import { serveControl } from './control.mjs'

const module = '/usr/lib/nginx/modules/ngx_nchan_module.so'
const publishersMax = 64
const channelOfAll = 'all'
const verifiesTokens = process.env.BENCH_VERIFY === '1'

if (!existsSync(module)) {
  console.error('nginx with nchan is missing: apt-get install nginx libnginx-mod-nchan')
  process.exit(1)
}
const folder = await mkdtemp(join(tmpdir(), 'carillon-bench-nginx-'))
const helperPort = await listen(createServer(verify))
const port = await freePort()
await writeFile(join(folder, 'nginx.conf'), configuration())
const nginx = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', 'stderr'], {
  stdio: ['ignore', 'ignore', 'inherit'],
})
process.on('exit', () => nginx.kill())
await untilListening(port)
const publish = openPublishers()
const control = await serveControl(
  (userId, body) => publish(userId, JSON.stringify(notificationOf({ title: 'bench', body }))),
  (body) => publish(channelOfAll, JSON.stringify(notificationOf({ title: 'bench', body }))),
)
ready({ port, control, pids: verifiesTokens ? [process.pid] : [nginx.pid], memoryPids: [nginx.pid], close })

async function close() {
  const isGone = once(nginx, 'exit')
  nginx.kill()
  await isGone
  await rm(folder, { recursive: true, force: true })
}

function configuration() {
  return `
load_module ${module};
user root;
worker_processes 1;
worker_rlimit_nofile 20000;
daemon off;
error_log stderr error;
pid ${folder}/nginx.pid;
events { worker_connections 40000; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  upstream helper { server 127.0.0.1:${helperPort}; keepalive 32; }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = /subscribe {
      nchan_subscriber websocket;
      nchan_channel_id $arg_user${hasBroadcasts ? ` ${channelOfAll}` : ''};
      nchan_websocket_ping_interval 12;
      ${verifiesTokens ? 'nchan_authorize_request /verify;' : ''}
    }
    location = /publish {
      nchan_publisher http;
      nchan_channel_id $arg_user;
      nchan_store_messages off;
    }
    location = /verify {
      internal;
      proxy_pass http://helper;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header X-User $arg_user;
    }
  }
}
`
}

function verify(request, response) {
  claimsOf(request.headers.authorization).then(
    ({ sub }) => response.writeHead(sub === request.headers['x-user'] ? 200 : 403).end(),
    () => response.writeHead(401).end(),
  )
}

/** Each connection has one request under way; the others wait. */
function openPublishers() {
  const waiting = []
  const idle = Array.from({ length: publishersMax }, openPublisher)
  function next(publisher) {
    const request = waiting.shift()
    if (request === undefined) idle.push(publisher)
    else publisher.write(request)
  }
  function openPublisher() {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    let text = ''
    socket.setEncoding('latin1').on('data', (chunk) => {
      text += chunk
      const end = text.indexOf('\r\n\r\n')
      const length = /content-length: (\d+)/i.exec(text)
      if (end < 0 || (length && text.length < end + 4 + Number(length[1]))) return
      if (!/^HTTP\/1.1 20[12]/.test(text)) throw new Error(text)
      text = ''
      next(socket)
    })
    return socket
  }
  return (channel, text) => {
    const head = `POST /publish?user=${channel} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n`
    const request = `${head}Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`
    const publisher = idle.pop()
    if (publisher) publisher.write(request)
    else waiting.push(request)
  }
}
