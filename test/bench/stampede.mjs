// npm run bench:stampede [-- --clients 2000]
// When the clients of a server come back: after a kill -9, and after a drain. Fails when a tenth of a second after the kill has more
// than 15 % of the first attempts, or when one comes before what the drain asked for.
import 'reflect-metadata';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { WsGatewayModule } from '../../dist/index.js';
import { createClient } from '../../dist/client/index.js';
import { nodeSocket } from '../../dist/client/node.js';

const SHARE = 0.15;
/** Handshakes at once, while the crowd gathers. */
const LANES = 100;

if (process.send === undefined) await measure();
else await serve(Number(process.argv[2]));

async function measure() {
  const { values } = parseArgs({ options: { clients: { type: 'string', default: '2000' } } });
  let { child, port } = await start(0);
  const socket = nodeSocket();
  const attempts = new Map();
  /** When the server wants to see a client again. */
  const asked = new Map();
  const crowd = Array.from({ length: Number(values.clients) }, () => {
    const createSocket = (url, protocols) => {
      if (!attempts.has(client)) attempts.set(client, performance.now());
      return socket(url, protocols);
    };
    const onFrame = (_, { event, data }) => {
      if (event === 'disconnect' && !asked.has(client)) asked.set(client, performance.now() + data.retryAfterMs);
    };
    const client = createClient({ url: `ws://127.0.0.1:${port}/ws`, createSocket, onFrame });
    return client;
  });
  let next = 0;
  const lane = async () => {
    while (next < crowd.length) await crowd[next++].connect();
  };
  await Promise.all(Array.from({ length: LANES }, lane));

  attempts.clear();
  const killedAt = performance.now();
  child.kill('SIGKILL');
  await until(() => attempts.size === crowd.length);
  const buckets = new Map();
  for (const at of attempts.values()) {
    const bucket = Math.floor((at - killedAt) / 100);
    buckets.set(bucket, (buckets.get(bucket) ?? 0) + 1);
  }
  const shares = [...buckets].toSorted(([a], [b]) => a - b).map(([, count]) => count / crowd.length);
  console.log(`after kill -9, by 100 ms: ${shares.map((share) => `${(share * 100).toFixed(1)} %`).join(' ')}`);

  ({ child, port } = await start(port));
  await until(() => crowd.every(({ state }) => state.status === 'open'));
  await new Promise((resolve) => setTimeout(resolve, 11_000)); // each connection is stable by then
  attempts.clear();
  asked.clear();
  child.kill('SIGTERM');
  await until(() => attempts.size === crowd.length);
  const late = crowd.map((client) => attempts.get(client) - asked.get(client));
  console.log(
    `after a drain, behind its retryAfterMs: ${Math.min(...late).toFixed(0)} to ${Math.max(...late).toFixed(0)} ms`,
  );
  for (const client of crowd) client.close();
  if (Math.max(...shares) > SHARE || Math.min(...late) < 0) process.exitCode = 1;
}

async function until(condition) {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 20));
}

async function start(port) {
  const child = fork(new URL(import.meta.url), [String(port)]);
  return { child, port: (await once(child, 'message'))[0] };
}

async function serve(port) {
  const options = {
    auth: { jwt: { secret: 'a-secret-for-benchmarks-of-at-least-32-bytes' }, anonymous: true },
    firewall: {
      maxConnectionsPerAddress: Infinity,
      handshakesPerSecondPerAddress: Infinity,
      ban: { violations: Infinity },
    },
    shutdown: { drainMs: 5_000 },
  };
  class AppModule {}
  Module({ imports: [WsGatewayModule.forRoot(options)] })(AppModule);
  const app = await NestFactory.create(AppModule, { logger: false });
  process.on('SIGTERM', () => void app.close().then(() => process.exit()));
  await app.listen(port, '127.0.0.1');
  process.send(app.getHttpServer().address().port);
}
