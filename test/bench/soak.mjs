// npm run bench:soak [-- --sessions 10000 --minutes 10 --per-second 1000]
// Idle sessions for a while: how many are dropped; then reconnects, so many a second for ten seconds: how many are served.
import 'reflect-metadata';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { JwtService } from '@nestjs/jwt';
import { WebSocket } from 'ws';
import { WsGatewayModule, WsSessions } from '../../dist/index.js';

const SECRET = 'a-secret-for-benchmarks-of-at-least-32-bytes';
const SECONDS = 10;
/** Ports of one address are few: clients come from as many addresses of loopback as they need. */
const PER_ADDRESS = 5_000;

if (process.send === undefined) await measure();
else await serve();

async function measure() {
  const { values } = parseArgs({
    options: {
      sessions: { type: 'string', default: '10000' },
      minutes: { type: 'string', default: '10' },
      'per-second': { type: 'string', default: '1000' },
    },
  });
  const [sessions, minutes, rate] = [values.sessions, values.minutes, values['per-second']].map(Number);
  const child = fork(new URL(import.meta.url), ['serve']);
  const [port] = await once(child, 'message');
  const ask = async () => {
    child.send('how');
    return (await once(child, 'message'))[0];
  };
  const jwt = new JwtService({});
  let made = 0;
  let dropped = 0;
  const open = async () => {
    const number = made++;
    const token = jwt.sign({ sub: `s${number}` }, { secret: SECRET, expiresIn: 86_400 });
    const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`, {
      headers: { authorization: `Bearer ${token}` },
      localAddress: `127.0.1.${1 + Math.floor(number / PER_ADDRESS)}`,
      perMessageDeflate: false,
    });
    socket.on('error', () => undefined); // the close that follows counts
    await once(socket, 'open');
    socket.on('close', () => dropped++);
    return socket;
  };
  const before = await ask();
  const idle = [];
  while (idle.length < sessions) idle.push(...(await Promise.all(Array.from({ length: 100 }, open))));
  const after = await ask();
  console.log(`${after.count} sessions, ${((after.rss - before.rss) / sessions / 1024).toFixed(1)} KB each`);
  await new Promise((resolve) => setTimeout(resolve, minutes * 60_000));
  console.log(`after ${minutes} minutes: ${(await ask()).count} sessions, ${dropped} dropped`);

  let served = 0;
  let failed = 0;
  let slowest = 0;
  const visit = async () => {
    const begun = performance.now();
    try {
      const socket = await open();
      socket.send('{"event":"ping","id":1}');
      await once(socket, 'message');
      slowest = Math.max(slowest, performance.now() - begun);
      served++;
      socket.terminate();
    } catch {
      failed++;
    }
  };
  const visits = [];
  for (let second = 0; second < SECONDS; second++) {
    const next = performance.now() + 1_000;
    for (let tick = 0; tick < 20; tick++) {
      for (let i = 0; i < rate / 20; i++) visits.push(visit());
      await new Promise((resolve) => setTimeout(resolve, 45));
    }
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, next - performance.now())));
  }
  await Promise.all(visits);
  console.log(
    `${rate} a second for ${SECONDS} s: ${served} served, ${failed} failed, the slowest after ${slowest.toFixed(0)} ms`,
  );
  const end = await ask();
  console.log(
    `${sessions} idle sessions beside them: ${idle.filter(({ readyState }) => readyState === 1).length} still open; RSS ${(end.rss / 1e6).toFixed(0)} MB`,
  );
  child.kill();
  process.exit(0);
}

async function serve() {
  class AppModule {}
  Module({
    imports: [
      WsGatewayModule.forRoot({
        auth: { jwt: { secret: SECRET } },
        firewall: { maxConnectionsPerAddress: Infinity, handshakesPerSecondPerAddress: Infinity },
      }),
    ],
  })(AppModule);
  const app = await NestFactory.create(AppModule, { logger: ['error'] });
  await app.listen(0, '127.0.0.1', 4_096);
  process.on('disconnect', () => process.exit(0));
  process.on('message', () => process.send({ count: app.get(WsSessions).count(), rss: process.memoryUsage().rss }));
  process.send(app.getHttpServer().address().port);
}
