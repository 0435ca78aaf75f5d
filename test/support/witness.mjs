// A client that behaves: one request at a time, every few milliseconds. In a process of its own, so that what it measures
// is the server and not the attacker beside it.
import { WebSocket } from 'ws';

const [url, token, everyMs] = process.argv.slice(2);
// From an address of its own: what the attacker's has come to is not its affair.
const socket = new WebSocket(url, {
  headers: { authorization: `Bearer ${token}` },
  localAddress: '127.0.0.2',
  perMessageDeflate: false,
});
let asked = 0;
let answered = 0;
let slowestMs = 0;
let closed;
let begun = 0;

function ask() {
  begun = performance.now();
  socket.send(JSON.stringify({ event: 'echo', data: asked, id: ++asked }));
}

socket.on('message', (bytes) => {
  const { event, id } = JSON.parse(bytes);
  if (event !== 'echo' || id !== asked) return;
  answered++;
  slowestMs = Math.max(slowestMs, performance.now() - begun);
  if (!stopping) setTimeout(ask, Number(everyMs));
  else report();
});
socket.on('error', () => undefined); // 'close' follows
socket.on('close', (code) => {
  closed = code;
  report();
});
socket.on('open', () => {
  ask();
  process.send('open');
});

// The last answer is waited for, but not for ever: one that is lost has to be told, too.
let stopping = false;
process.on('message', () => {
  stopping = true;
  if (asked === answered) report();
  else setTimeout(report, 5_000).unref();
});

let reported = false;

function report() {
  if (reported) return;
  reported = true;
  process.send({
    asked,
    answered,
    closed,
    slowestMs: Math.max(slowestMs, asked > answered ? performance.now() - begun : 0),
  });
  process.disconnect();
  socket.terminate();
}
