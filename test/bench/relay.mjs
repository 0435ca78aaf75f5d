// npm run bench:relay -- [--rounds 5 --seconds 2 --only 4]: the gateway as a proxy beside a bare relay of ws (two on('message'), two send),
// A B A B …, in one run: CPU of the relay for a message that goes through and comes back, resident memory of an idle session.
import 'reflect-metadata';
import { fork } from 'node:child_process';
import { parseArgs } from 'node:util';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { JwtService } from '@nestjs/jwt';
import { WebSocket, WebSocketServer } from 'ws';
import { WsGatewayModule } from '../../dist/index.js';
import { bytesPerSession, cpuPerMessage, median, payload } from './measure.mjs';

const secret = 'a-secret-for-benchmarks-of-at-least-32-bytes';
const [GATEWAY, BARE, ECHO] = ['nestjs-ws-gateway', 'bare relay', 'echo'];

const listen = (server) => new Promise((resolve) => server.on('listening', () => resolve(server.address().port)));

/** Two listeners, two sends, and what closes one end closes the other. */
function bareRelay(upstream) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false, clientTracking: false });
  server.on('connection', (client) => {
    const application = new WebSocket(upstream, { perMessageDeflate: false });
    client.pause();
    application.on('open', () => client.resume());
    client.on('message', (data, isBinary) => application.send(data, { binary: isBinary }));
    application.on('message', (data, isBinary) => client.send(data, { binary: isBinary }));
    client.on('close', () => application.terminate());
    application.on('close', () => client.terminate());
    for (const socket of [client, application]) socket.on('error', () => undefined);
  });
  return listen(server);
}

function echo() {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false, clientTracking: false });
  server.on('connection', (socket) =>
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary })),
  );
  return listen(server);
}

/** With the default limits, apart from the rates that a load of one address is over. */
async function gateway(upstream) {
  class AppModule {}
  const options = {
    auth: { jwt: { secret }, sources: ['header'] },
    firewall: { maxConnectionsPerAddress: Infinity, handshakesPerSecondPerAddress: Infinity },
    limits: { messagesPerSecond: Infinity, messagesPerSecondPerSubject: Infinity, bytesPerSecond: Infinity },
    upstreams: { '/ws': { urls: [upstream] } },
  };
  options.auth.maxSessionsPerSubject = Infinity;
  Module({ imports: [WsGatewayModule.forRoot(options)] })(AppModule);
  const app = await NestFactory.create(AppModule, { logger: ['error', 'warn'] });
  await app.listen(0, '127.0.0.1');
  return app.getHttpServer().address().port;
}

async function serve(name) {
  const upstream = process.env.RELAY_UPSTREAM;
  const port = await { [GATEWAY]: gateway, [BARE]: bareRelay, [ECHO]: echo }[name](upstream);
  process.on('message', () => process.send({ cpu: process.cpuUsage() }));
  process.send({ port, token: new JwtService({}).sign({ sub: 'ada' }, { secret, expiresIn: 3_600 }) });
}

async function compare() {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '2' },
      only: { type: 'string', default: '' },
    },
  });
  const application = fork(import.meta.filename, [ECHO]);
  const [{ port }] = await new Promise((resolve) => application.once('message', (...told) => resolve(told)));
  process.env.RELAY_UPSTREAM = `ws://127.0.0.1:${port}`;
  const milliseconds = Number(values.seconds) * 1_000;
  const each = [
    ['100 B', 60],
    ['4 KiB', 4_000],
  ].flatMap(([title, length]) =>
    [1, 16].map((depth) => [`64×${depth}, ${title}`, { connections: 64, depth, data: payload(length) }]),
  );
  const script = import.meta.filename;
  const scenarios = Object.fromEntries([
    ...each,
    ['2,000 idle', { connections: 2_000, depth: 1, data: payload(40), idle: true }],
  ]);
  const table = {};
  for (const [title, { idle, ...scenario }] of Object.entries(scenarios)) {
    if (!title.includes(values.only)) continue;
    const measure = (name) =>
      idle ? bytesPerSession({ script, name, scenario }) : cpuPerMessage({ script, name, scenario }, milliseconds);
    const [bare, ours] = [[], []];
    for (let i = 0; i < Number(values.rounds); i++) {
      bare.push(await measure(BARE));
      ours.push(await measure(GATEWAY));
    }
    const ratios = bare.map((value, i) => (idle ? ours[i] / value : value / ours[i]));
    table[title] = {
      'bare relay': median(bare).toFixed(1),
      gateway: median(ours).toFixed(1),
      [idle ? 'gateway / bare' : 'bare / gateway']: median(ratios).toFixed(3),
      // The least of each is what other load of the machine has disturbed least.
      'of the least': (idle ? Math.min(...ours) / Math.min(...bare) : Math.min(...bare) / Math.min(...ours)).toFixed(3),
      'least, most': `${Math.min(...ratios).toFixed(3)} ${Math.max(...ratios).toFixed(3)}`,
    };
  }
  application.kill();
  console.table(table);
}

if (process.send === undefined) await compare();
else await serve(process.argv[2]);
