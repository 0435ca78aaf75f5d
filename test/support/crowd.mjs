// Well-behaved clients, in a process of their own: sessions that each ask something every half second, and newcomers from
// addresses that nobody has seen, each of which signs in, asks and leaves.
import { once } from 'node:events';
import { WebSocket } from 'ws';

const [url, tokens, patienceMs] = [process.argv[2], JSON.parse(process.argv[3]), Number(process.argv[4])];
const EVERY_MS = 500;
const NEWCOMERS_EVERY_MS = 250;
/** Sessions of one address: an office, and not one that has a limit against it. */
const PER_ADDRESS = 20;

const tookMs = [];
let asked = 0;
let lost = 0;
let newcomers = 0;
const refused = [];
let isOver = false;

function connect(token, localAddress) {
  return new WebSocket(url, { headers: { authorization: `Bearer ${token}` }, localAddress, perMessageDeflate: false });
}

async function stay(token, number) {
  const socket = connect(token, `127.0.5.${1 + Math.floor(number / PER_ADDRESS)}`);
  socket.on('error', () => undefined); // 'close' follows
  let begun = 0;
  socket.on('message', (bytes) => {
    if (JSON.parse(bytes).event !== 'echo') return;
    tookMs.push(performance.now() - begun);
    begun = 0;
  });
  socket.on('close', () => (isOver ? undefined : lost++));
  await once(socket, 'open');
  // Each at a moment of its own.
  await new Promise((resolve) => setTimeout(resolve, (number * EVERY_MS) / tokens.length));
  const ask = () => {
    if (isOver || begun > 0) return; // one at a time
    begun = performance.now();
    asked++;
    socket.send(JSON.stringify({ event: 'echo', data: { lines: [1, 2, 3] }, id: asked }));
  };
  setInterval(ask, EVERY_MS);
  return { end: () => (begun > 0 ? tookMs.push(performance.now() - begun) : undefined) };
}

async function visit() {
  const number = newcomers++;
  const begun = performance.now();
  const socket = connect(tokens[number % tokens.length], `127.0.${6 + Math.floor(number / 250)}.${1 + (number % 250)}`);
  let problem = 'no answer';
  socket.on('error', (error) => (problem = error.message));
  socket.on('open', () => socket.send('{"event":"echo","data":1,"id":1}'));
  socket.on('message', (bytes) => {
    if (JSON.parse(bytes).event === 'echo') problem = undefined;
    socket.close();
  });
  setTimeout(() => socket.terminate(), patienceMs).unref();
  await new Promise((resolve) => socket.once('close', resolve)); // once() of node:events would reject with the error
  if (problem !== undefined) refused.push(`${number} ${Math.round(performance.now() - begun)} ${problem}`);
}

const staying = await Promise.all(tokens.map(stay));
process.send('ready');
const visits = [];
const timer = setInterval(() => visits.push(visit()), NEWCOMERS_EVERY_MS);

process.on('message', async () => {
  clearInterval(timer);
  isOver = true;
  await Promise.all(visits);
  for (const one of staying) one.end();
  const sorted = tookMs.toSorted((a, b) => a - b);
  const share = (part) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]);
  process.send(
    { asked, answered: tookMs.length, lost, p50: share(0.5), p99: share(0.99), slowest: share(1), newcomers, refused },
    () => process.exit(0),
  );
});
