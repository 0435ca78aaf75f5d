// npm run bench:fanout [-- --rounds 5 --seconds 2 --members 1000,5000]
// Deliveries for a CPU second of the server when one message goes to many members, as a ratio to a loop of send() on bare ws in the
// same interleaved run: fresh processes, A B C A B C …; and the memory of memberships.
import 'reflect-metadata';
import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const SECRET = 'a-secret-for-benchmarks-of-at-least-32-bytes';
const EVENT = 'news';
/** Each frame has one Z, which nothing else in it has: neither its header, nor Socket.IO's. */
const DATA = { text: 'the quick brown fox jumps over the lazy dog '.repeat(2), end: 'Z' };
const END = 0x5a;

const most = 10_000_000;
const LIMITS = {
  firewall: { maxConnectionsPerAddress: most, handshakesPerSecondPerAddress: most, handshakeBurstPerAddress: most },
  limits: { messagesPerSecond: most, messageBurst: most, messagesPerSecondPerSubject: most },
};

/** The servers: each returns its HTTP server, and what sends one message to all. */
const SERVERS = {
  'ws, a loop of send()': async () => {
    const { WebSocketServer } = await import('ws');
    const server = createServer();
    const { clients } = new WebSocketServer({ server });
    const send = () => {
      const message = { event: EVENT, data: DATA };
      for (const client of clients) client.send(JSON.stringify(message));
    };
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { server, send };
  },
  'nestjs-ws-gateway': async () => {
    const { Module } = await import('@nestjs/common');
    const { NestFactory } = await import('@nestjs/core');
    const { WebSocketGateway } = await import('@nestjs/websockets');
    const { WsGatewayModule, WsRooms, WsSession } = await import('../../dist/index.js');
    class Gateway {
      handleConnection(socket) {
        WsSession.of(socket).join('page');
      }
    }
    WebSocketGateway()(Gateway);
    class AppModule {}
    const auth = { jwt: { secret: SECRET }, maxSessionsPerSubject: Infinity };
    Module({ imports: [WsGatewayModule.forRoot({ auth, ...LIMITS })], providers: [Gateway] })(AppModule);
    const app = await NestFactory.create(AppModule, { logger: ['error', 'warn'] });
    await app.listen(0, '127.0.0.1');
    const rooms = app.get(WsRooms);
    return { server: app.getHttpServer(), send: () => void rooms.publish('page', EVENT, DATA) };
  },
  'ws, framed once by hand': async () => {
    const { WebSocketServer } = await import('ws');
    const server = createServer();
    const { clients } = new WebSocketServer({ server });
    const send = () => {
      const text = JSON.stringify({ event: EVENT, data: DATA });
      const frame = Buffer.concat([Buffer.from([0x81, 126, text.length >> 8, text.length & 255]), Buffer.from(text)]);
      for (const client of clients) client._socket.write(frame);
    };
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { server, send };
  },
  'Socket.IO': async () => {
    const { Server } = await import('socket.io');
    const server = createServer();
    const io = new Server(server, { transports: ['websocket'] });
    io.on('connection', (socket) => socket.join('page'));
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { server, send: () => io.to('page').emit(EVENT, DATA) };
  },
};

async function serve(name) {
  const { JwtService } = await import('@nestjs/jwt');
  const { server, send } = await SERVERS[name]();
  process.on('disconnect', () => process.exit(0));
  process.on('message', (perTick) => {
    if (perTick > 0) for (let i = 0; i < perTick; i++) send();
    else process.send({ cpu: process.cpuUsage() });
  });
  const token = new JwtService({}).sign({ sub: 'bench' }, { secret: SECRET, expiresIn: 3_600 });
  process.send({ port: server.address().port, token });
}

/** A client that counts what it is sent. @param onEnd called for each message */
function open({ port, token }, isSocketIo, onEnd) {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => {
      const path = isSocketIo ? '/socket.io/?EIO=4&transport=websocket' : '/ws';
      const lines = [`GET ${path} HTTP/1.1`, 'Host: 127.0.0.1', 'Upgrade: websocket', 'Connection: Upgrade'];
      lines.push('Sec-WebSocket-Version: 13', `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`);
      socket.write([...lines, `Authorization: Bearer ${token}`, '\r\n'].join('\r\n'));
    });
    let heads = isSocketIo ? 3 : 1; // the upgrade; of Socket.IO also its two greetings
    socket.on('error', reject);
    socket.on('data', (chunk) => {
      if (heads > 0) {
        const text = chunk.toString('latin1');
        if (text.includes('101 Switching')) heads--;
        if (isSocketIo && text.includes('0{"sid"') && !text.includes('40{"sid"')) {
          heads--;
          socket.write(Buffer.concat([Buffer.from([0x81, 0x82, 0, 0, 0, 0]), Buffer.from('40')]));
        }
        if (isSocketIo && text.includes('40{"sid"')) heads--;
        if (heads === 0) resolve(socket);
        return;
      }
      for (let at = chunk.indexOf(END); at !== -1; at = chunk.indexOf(END, at + 1)) onEnd();
    });
  });
}

/** Microseconds of the server's CPU for one delivery, and those of them in the kernel. */
async function cpuPerDelivery(name, members, perTick, milliseconds) {
  const server = fork(fileURLToPath(import.meta.url), ['--serve', name], {
    env: { ...process.env, NODE_ENV: 'production' },
  });
  const next = () => new Promise((resolve) => server.once('message', resolve));
  const target = await next();
  let left = 0;
  let done = () => undefined;
  const onEnd = () => --left === 0 && done();
  const sockets = [];
  for (let opened = 0; opened < members; opened += 64) {
    const some = Array.from({ length: Math.min(64, members - opened) }, () =>
      open(target, name === 'Socket.IO', onEnd),
    );
    sockets.push(...(await Promise.all(some)));
  }
  await new Promise((resolve) => setTimeout(resolve, 200));
  const tick = () =>
    new Promise((resolve) => {
      left = members * perTick;
      done = resolve;
      server.send(perTick);
    });
  const cpu = async () => {
    server.send(0);
    return (await next()).cpu;
  };
  const run = async (ms) => {
    let ticks = 0;
    for (const end = Date.now() + ms; Date.now() < end; ticks++) await tick();
    return ticks;
  };
  await run(milliseconds / 2); // until it is compiled
  const from = await cpu();
  const ticks = await run(milliseconds);
  const to = await cpu();
  const per = ticks * members * perTick;
  for (const socket of sockets)
    socket
      .removeAllListeners('error')
      .on('error', () => undefined)
      .destroy();
  server.kill();
  const system = (to.system - from.system) / per;
  return { total: (to.user - from.user) / per + system, system };
}

/** Bytes of the heap for one membership: 10,000 sessions in 10 of 1,000 rooms each. */
async function bytesPerMembership() {
  const { Memberships } = await import('../../dist/rooms/memberships.js');
  const { MemoryEngine } = await import('../../dist/engine/memory-engine.js');
  const clock = { now: () => Date.now(), monotonic: () => performance.now() };
  const limits = { maxPerSession: 100, maxPerProcess: most, maxMembershipsPerProcess: most, maxMembers: most };
  const nothing = { onLeave: () => undefined, has: () => false };
  const rooms = new Memberships(limits, {}, new MemoryEngine({}, clock), nothing, nothing, clock, nothing);
  const sessions = Array.from({ length: 10_000 }, (_, id) => ({ id, isLive: true }));
  const names = Array.from({ length: 1_000 }, (_, n) => `room ${n}`);
  gc();
  const before = process.memoryUsage().heapUsed;
  for (const session of sessions)
    for (let n = 0; n < 10; n++) rooms.add(session, names[(session.id * 7 + n * 97) % 1_000], false);
  gc();
  return (process.memoryUsage().heapUsed - before) / rooms.size.memberships;
}

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
const round = (value) => Number(value.toFixed(2));

/** @returns by scenario and server what a delivery costs, in µs of the server's CPU, and as a ratio to the loop */
export async function fanOut({ rounds, seconds, members }) {
  const table = {};
  const names = Object.keys(SERVERS);
  for (const count of members) {
    for (const perTick of [1, 8]) {
      const cost = Object.fromEntries(names.map((name) => [name, []]));
      for (let i = 0; i < rounds; i++) {
        for (const name of names) cost[name].push(await cpuPerDelivery(name, count, perTick, seconds * 1_000));
      }
      const title = `${count.toLocaleString('en')} members of a room, ${perTick} message${perTick > 1 ? 's' : ''} a tick`;
      table[title] = Object.fromEntries(
        names.map((name) => {
          const of = (part) => round(median(cost[name].map((one) => one[part])));
          const ratio = median(cost[name].map(({ total }, index) => cost[names[0]][index].total / total));
          return [name, { us: of('total'), kernel: of('system'), ratio: round(ratio) }];
        }),
      );
      process.stdout.write(`\n${title}: server CPU per delivery\n`);
      console.table(
        Object.fromEntries(
          names.map((name) => {
            const { us, kernel, ratio } = table[title][name];
            return [name, { 'µs (median)': us, 'of them in the kernel': kernel, 'ratio to the loop': ratio }];
          }),
        ),
      );
    }
  }
  return table;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '2' },
      members: { type: 'string', default: '1000,5000' },
      serve: { type: 'string' },
    },
  });
  if (values.serve !== undefined) await serve(values.serve);
  else {
    const members = values.members.split(',').map(Number);
    await fanOut({ rounds: Number(values.rounds), seconds: Number(values.seconds), members });
    if (globalThis.gc !== undefined) {
      process.stdout.write(`\n${(await bytesPerMembership()).toFixed(0)} bytes a membership\n`);
    }
  }
}
