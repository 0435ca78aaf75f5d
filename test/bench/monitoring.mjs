// npm run bench:monitoring [-- --sessions 5000 --processes 3 --rounds 10 --seconds 1 --scrape 1 --apart --control]
// What full metrics cost on the path of a message: server CPU per message with them, as a ratio to the same without. One
// process and its sessions are measured in turns, off on on off …, in short windows: between two processes lies more than
// the difference that is looked for. --apart measures two, one of which has never had any metrics; --control measures off
// against off, which is how far the ratio is to be believed.
import 'reflect-metadata';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { JwtService } from '@nestjs/jwt';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsEmail, IsString, MaxLength } from 'class-validator';
import { collectDefaultMetrics } from 'prom-client';
import { WsGatewayModule, WsMetrics, WsSessions } from '../../dist/index.js';
import { load } from './load.mjs';

const secret = 'a-secret-for-benchmarks-of-at-least-32-bytes';

const ON = 'on';
const OFF = 'off';

if (process.send === undefined) await measure();
else await serve(process.argv[2] === ON);

async function measure() {
  const { values } = parseArgs({
    options: {
      sessions: { type: 'string', default: '5000' },
      processes: { type: 'string', default: '3' },
      rounds: { type: 'string', default: '10' },
      seconds: { type: 'string', default: '1' },
      scrape: { type: 'string', default: '1' },
      apart: { type: 'boolean', default: false },
      control: { type: 'boolean', default: false },
    },
  });
  const [sessions, processes, rounds, seconds, scrape] = ['sessions', 'processes', 'rounds', 'seconds', 'scrape'].map(
    (name) => Number(values[name]),
  );
  const second = values.control ? OFF : ON;
  const ratios = [];
  for (let process_ = 0; process_ < processes; process_++) {
    // Apart, the order changes: whoever starts first is placed better.
    const first = await start(!values.apart || (process_ % 2 === 1 && !values.control) ? ON : OFF, sessions);
    const other = values.apart ? await start(first.kind === ON || values.control ? OFF : ON, sessions) : first;
    const [off, on] = first.kind === ON && values.apart ? [other, first] : [first, other];
    const turns = [
      [off, OFF],
      [on, second],
    ];
    for (const [server, kind] of turns) await spend(server, kind, 2 * seconds, scrape); // until it is compiled
    const costs = [[], []];
    for (let round = 0; round < rounds; round++) {
      for (const index of round % 2 === 0 ? [0, 1] : [1, 0]) {
        costs[index].push(await spend(...turns[index], seconds, scrape));
      }
      ratios.push(costs[1].at(-1) / costs[0].at(-1));
    }
    for (const { child, clients } of new Set([off, on])) {
      clients.stop();
      child.kill();
    }
    const [without, with_] = costs.map(median);
    console.log(`${without.toFixed(2)} µs without, ${with_.toFixed(2)} µs with: ${(with_ / without).toFixed(3)}`);
  }
  const sorted = ratios.toSorted((a, b) => a - b);
  const at = (share) => sorted[Math.floor(share * (sorted.length - 1))].toFixed(3);
  console.log(
    `${sessions} sessions, ${second} to off: median ratio ${at(0.5)}, quartiles ${at(0.25)} and ${at(0.75)}, ${ratios.length} rounds`,
  );
}

async function start(kind, sessions) {
  const child = fork(new URL(import.meta.url), [kind], { env: { ...process.env, NODE_ENV: 'production' } });
  const [{ port, token }] = await once(child, 'message');
  const data = { email: 'user@example.com', text: 'the quick brown fox jumps over the lazy d' };
  const clients = await load({ port, token, connections: sessions, depth: 1, data });
  clients.pause();
  await quiet(clients);
  return { child, clients, kind };
}

/** Microseconds of the server's CPU for one message, in a window of its own. */
async function spend({ child, clients }, kind, seconds, scrape) {
  child.send(kind);
  const cpu = async () => {
    child.send('cpu');
    const [{ user, system }] = await once(child, 'message');
    return user + system;
  };
  const [before, from] = [clients.count(), await cpu()];
  clients.resume();
  const until = performance.now() + seconds * 1000;
  while (performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, scrape > 0 ? scrape * 1000 : seconds * 1000));
    if (scrape > 0 && kind === ON) child.send('scrape');
  }
  clients.pause();
  await quiet(clients);
  return ((await cpu()) - from) / (clients.count() - before);
}

/** Resolves when nothing is in flight any more. */
async function quiet(clients) {
  for (let before = -1; before !== clients.count();) {
    before = clients.count();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function median(list) {
  return list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
}

async function serve(isOn) {
  class EchoDto {}
  IsEmail()(EchoDto.prototype, 'email');
  IsString()(EchoDto.prototype, 'text');
  MaxLength(16_384)(EchoDto.prototype, 'text');
  class EchoGateway {
    echo(data) {
      return data;
    }
  }
  MessageBody()(EchoGateway.prototype, 'echo', 0);
  Reflect.defineMetadata('design:paramtypes', [EchoDto], EchoGateway.prototype, 'echo');
  SubscribeMessage('echo')(
    EchoGateway.prototype,
    'echo',
    Object.getOwnPropertyDescriptor(EchoGateway.prototype, 'echo'),
  );
  WebSocketGateway()(EchoGateway);

  class AppModule {}
  const off = Infinity;
  const module = WsGatewayModule.forRoot({
    auth: { jwt: { secret }, maxSessionsPerSubject: off },
    firewall: { maxConnectionsPerAddress: off, handshakesPerSecondPerAddress: off, handshakeBurstPerAddress: off },
    limits: { messagesPerSecond: off, messageBurst: off, messagesPerSecondPerSubject: off, bytesPerSecond: off },
    overload: { maxEventLoopDelayMs: off },
    heartbeat: { intervalMs: 3_600_000 }, // these clients have no pong
    monitoring: { metrics: isOn, traces: false },
  });
  Module({ imports: [module], providers: [EchoGateway] })(AppModule);
  const app = await NestFactory.create(AppModule, { logger: ['error', 'warn'] });
  await app.listen(0, '127.0.0.1');
  const metrics = app.get(WsMetrics);
  if (isOn) collectDefaultMetrics({ register: metrics.registry });
  process.on('message', (what) => {
    if (what === 'cpu') process.send(process.cpuUsage());
    else if (what === 'scrape') void metrics.text();
    else if (isOn) switchTo(what === ON);
  });
  // What the option decides for a message, decided anew. The watch over the event loop goes on: it is no part of that.
  const switchTo = (on) => {
    const [session] = app.get(WsSessions).all();
    session.server.context.traffic.isTimed = on;
  };
  process.on('disconnect', () => process.exit(0));
  const token = new JwtService({}).sign({ sub: 'bench' }, { secret, expiresIn: 3_600 });
  process.send({ port: app.getHttpServer().address().port, token });
}
