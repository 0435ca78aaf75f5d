// node client.mjs wss://localhost:8765/ws FOLDER
import { readFileSync } from 'node:fs';
import { WebSocket } from 'ws';

const [url, folder] = process.argv.slice(2);
const file = (name) => readFileSync(`${folder}/${name}`);

const socket = new WebSocket(url, 'ws-gateway.v1', {
  ca: file('ca.pem'), // who vouches for the server
  cert: file('meter-1.pem'), // who vouches for us: there is no token
  key: file('meter-1.key'),
});

socket.on('open', () => socket.send(JSON.stringify({ event: 'session', id: 1 })));
socket.on('message', (text) => {
  const { event, data } = JSON.parse(text);
  console.log(event, data.subject ?? data.code);
  if (event === 'session') socket.close();
});
socket.on('error', ({ message }) => console.log('no connection:', message));
