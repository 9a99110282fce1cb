#!/usr/bin/env bash
# FluentServer of the npm package @fluent-org/logger 1.0.10 acknowledges entries of the form
# [time, record]. On entries of the form [[time, metadata], record] it closes the connection:
# no acknowledgement, no entry. Fluent Bit's own `forward` output sends the second form unless
# Retain_Metadata_In_Forward_Mode is off, and on is the default since Fluent Bit 5.0.5.
#
# A sender that retries what was not acknowledged repeats such a frame for ever. kube-audit
# sends the first form by default.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @fluent-org/logger@1.0.10 @msgpack/msgpack@2.8.0

cat >probe.js <<'JS'
const net = require('net');
const { FluentServer } = require('@fluent-org/logger');
const { encode, decode } = require('@msgpack/msgpack');

// What a server of its own answers to one PackedForward message with this entry.
async function answer(entry) {
  const server = new FluentServer({ listenOptions: { host: '127.0.0.1', port: 0 } });
  let entries = 0;
  server.on('entry', () => { entries += 1; });
  await server.listen();
  const port = server.server.address().port;
  const said = await new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('connect', () => socket.write(encode(['a.tag', encode(entry), { chunk: 'id-1' }])));
    socket.on('data', (data) => { resolve(JSON.stringify(decode(data))); socket.destroy(); });
    socket.on('error', () => resolve('closed'));
    socket.on('close', () => resolve('closed'));
    setTimeout(() => { resolve('silent'); socket.destroy(); }, 3000);
  });
  await server.close();
  return `${said}, entries: ${entries}`;
}

(async () => {
  console.log('[time, record]:', await answer([100, { n: 1 }]));
  console.log('[[time, metadata], record]:', await answer([[100, {}], { n: 1 }]));
  process.exit(0);
})();
JS

saw=$(timeout 30 node probe.js)
expected='[time, record]: {"ack":"id-1"}, entries: 1
[[time, metadata], record]: closed, entries: 0'
echo "@fluent-org/logger 1.0.10:"
echo "$saw"
[ "$saw" = "$expected" ] || { echo "this has changed; it was:"; echo "$expected"; exit 1; }
