// npm run bench:reconnect [-- --sessions 5000]
// A storm of reconnects, each with a token of its own: what it costs the server, and how long its event loop stands still.
// Once with tokens that it has not seen before, once with the same again.
import 'reflect-metadata';
import { fork } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { JwtService } from '@nestjs/jwt';
import { WebSocketServer } from 'ws';
import { WsGatewayModule } from '../../dist/index.js';

const LANES = 200;

if (process.send === undefined) await measure();
else await serve(JSON.parse(process.argv[2]));

async function measure() {
  const { values } = parseArgs({ options: { sessions: { type: 'string', default: '5000' } } });
  const sessions = Number(values.sessions);
  const pem = {
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  };
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048, ...pem });
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256', ...pem });
  const secret = 'a-secret-for-benchmarks-of-at-least-32-bytes';
  const kinds = {
    'bare ws, no token': { sign: { secret }, algorithm: 'HS256' },
    HS256: { jwt: { secret }, sign: { secret }, algorithm: 'HS256' },
    RS256: { jwt: { publicKey: rsa.publicKey }, sign: { privateKey: rsa.privateKey }, algorithm: 'RS256' },
    ES256: { jwt: { publicKey: ec.publicKey }, sign: { privateKey: ec.privateKey }, algorithm: 'ES256' },
  };
  for (const [name, { jwt, sign, algorithm }] of Object.entries(kinds)) {
    const service = new JwtService({});
    const tokens = Array.from({ length: sessions }, (_, i) =>
      service.sign({ sub: `s${i}` }, { ...sign, algorithm, expiresIn: 3_600 }),
    );
    const child = fork(new URL(import.meta.url), [JSON.stringify({ jwt })]);
    const [port] = await once(child, 'message');
    for (const round of ['new tokens', 'the same']) {
      child.send('begin');
      await once(child, 'message');
      const begun = performance.now();
      const sockets = await storm(port, tokens);
      const elapsed = performance.now() - begun;
      child.send('end');
      const [{ cpu, delay }] = await once(child, 'message');
      for (const socket of sockets) socket.destroy();
      console.log(
        `${name}, ${round}: ${(cpu / sessions).toFixed(0)} µs of CPU each, ${elapsed.toFixed(0)} ms for all, ` +
          `event loop at most ${delay.toFixed(0)} ms late`,
      );
    }
    child.kill();
    await once(child, 'exit');
  }
}

async function storm(port, tokens) {
  const sockets = [];
  let next = 0;
  const lane = async () => {
    while (next < tokens.length) sockets.push(await upgrade(port, tokens[next++]));
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return sockets;
}

async function upgrade(port, token) {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined); // it is destroyed at the end, whatever the server does
  socket.write(
    'GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n' +
      `Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer ${token}\r\n\r\n`,
  );
  const [answer] = await once(socket, 'data');
  if (!answer.toString('latin1').startsWith('HTTP/1.1 101')) throw new Error(answer.toString('latin1'));
  return socket;
}

async function serve({ jwt }) {
  const http = jwt === undefined ? await bare() : await gateway(jwt);
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  let before = process.cpuUsage();
  process.on('message', (word) => {
    if (word === 'begin') {
      before = process.cpuUsage();
      delay.reset();
      process.send('ready');
      return;
    }
    const { user, system } = process.cpuUsage(before);
    process.send({ cpu: user + system, delay: delay.max / 1e6 });
  });
  process.send(http.address().port);
}

async function bare() {
  const http = createServer();
  const server = new WebSocketServer({ noServer: true });
  http.on('upgrade', (request, socket, head) => server.handleUpgrade(request, socket, head, () => undefined));
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  return http;
}

async function gateway(jwt) {
  class AppModule {}
  Module({
    imports: [
      WsGatewayModule.forRoot({
        auth: { jwt },
        firewall: { maxConnectionsPerAddress: Infinity, handshakesPerSecondPerAddress: Infinity },
      }),
    ],
  })(AppModule);
  const app = await NestFactory.create(AppModule, { logger: false });
  await app.listen(0, '127.0.0.1');
  return app.getHttpServer();
}
