// What a server of servers.mjs costs, each in a fresh process: CPU for one message, memory for one idle session.
import { fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { load } from './load.mjs';

const SERVERS = new URL('servers.mjs', import.meta.url).pathname;
const WORDS = 'the quick brown fox jumps over the lazy dog '.repeat(100);
const IDLE_MS = 1_000;

/** A payload that every server's DTO takes. */
export const payload = (length) => ({ email: 'user@example.com', text: WORDS.slice(0, length) });

export const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Runs `task` with the clients of a scenario connected to the server. `size` is what a server of growing size takes. */
async function withServer({ script = SERVERS, name, size = 1, scenario }, task) {
  const server = fork(script, [name, String(size)], { env: { ...process.env, NODE_ENV: 'production' } });
  const next = () =>
    new Promise((resolve, reject) =>
      server.once('message', resolve).once('exit', () => reject(new Error(`${name} ended`))),
    );
  try {
    const { port, token } = await next();
    const empty = resident(server.pid);
    const framing = name.startsWith('Socket.IO') ? 'socketio' : 'json';
    const clients = await load({ framing, ...scenario, port, token });
    const cpu = async () => {
      server.send('cpu');
      const { user, system } = (await next()).cpu;
      return user + system;
    };
    const result = await task({ clients, cpu, grown: () => resident(server.pid) - empty });
    clients.stop();
    return result;
  } finally {
    server.removeAllListeners('exit');
    server.kill();
  }
}

/** Bytes of memory that a process has (Linux). */
function resident(pid) {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1_024;
}

/** Microseconds of the server's CPU for one message, measured for so long after half of that time. */
export function cpuPerMessage(what, milliseconds) {
  return withServer(what, async ({ clients, cpu }) => {
    await sleep(milliseconds / 2); // until it is compiled
    const [before, from] = [clients.count(), await cpu()];
    await sleep(milliseconds);
    const [after, to] = [clients.count(), await cpu()];
    return (to - from) / (after - before);
  });
}

/** Bytes of resident memory for one idle session. */
export function bytesPerSession(what) {
  return withServer(what, async ({ clients, grown }) => {
    clients.pause();
    await sleep(IDLE_MS);
    return grown() / what.scenario.connections;
  });
}
