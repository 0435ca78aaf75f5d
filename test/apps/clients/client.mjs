// The browser's WebSocket and that of Node 22 work alike; `ws` has the same interface on Node 20.
import { WebSocket } from 'ws';

const [url, token] = process.argv.slice(2);
const socket = new WebSocket(url, ['ws-gateway.v1', `bearer.${token}`]);
const waiting = new Map();
let lastId = 0;

/** Sends a request; resolves with its reply, rejects with its exception. */
function ask(event, data) {
  const id = ++lastId;
  socket.send(JSON.stringify({ event, data, id }));
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

socket.onmessage = ({ data: text }) => {
  const { event, data, id } = JSON.parse(text);
  const request = waiting.get(id);
  waiting.delete(id);
  if (event === 'exception') request?.reject(data);
  else if (event === 'disconnect') console.log('disconnect', data.code, data.reconnect);
  else request?.resolve(data);
};

socket.onopen = async () => {
  console.log('reply', (await ask('message', { text: 'hello' })).text);
  await ask('message', { text: 42 }).catch(({ code, details }) => console.log('exception', code, details[0].path));
  socket.close();
};
