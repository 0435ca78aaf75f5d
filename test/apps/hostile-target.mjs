// A server to be attacked, in a process of its own: handlers at once and late, small and large answers. OPTIONS (JSON) are
// laid over the module's defaults, one level deep; what memory it holds is told over IPC.
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { Public, WsGatewayModule, WsSessions } from '../../dist/index.js';

const { PORT: port = '0', JWT_SECRET: secret, OPTIONS: options = '{}' } = process.env;
const { auth, ...rest } = JSON.parse(options);

class HostileGateway {
  echo(data) {
    return { event: 'echo', data: data ?? null };
  }
  /** As many bytes as it is asked for. */
  large(bytes) {
    return 'x'.repeat(bytes);
  }
  /** Holds its message until long after its time is over. */
  slow(data) {
    return new Promise((resolve) => setTimeout(resolve, 60_000, data).unref());
  }
}

function handles(method, ...decorators) {
  const descriptor = Object.getOwnPropertyDescriptor(HostileGateway.prototype, method);
  MessageBody()(HostileGateway.prototype, method, 0);
  for (const decorate of [SubscribeMessage(method), ...decorators])
    decorate(HostileGateway.prototype, method, descriptor);
}

handles('echo', Public());
handles('large');
handles('slow');
WebSocketGateway()(HostileGateway);

class TargetModule {}
Module({
  imports: [WsGatewayModule.forRoot({ ...rest, auth: { jwt: { secret }, ...auth } })],
  providers: [HostileGateway],
})(TargetModule);

const app = await NestFactory.create(TargetModule, { logger: ['error'] });
await app.listen(Number(port), '127.0.0.1');

process.on('disconnect', () => process.exit(0));
process.on('message', (id) => {
  // Twice: what the first pass finds dead outside the heap goes with the second.
  for (let i = 0; i < 2; i++) globalThis.gc?.();
  const { rss, heapUsed, external } = process.memoryUsage();
  process.send({ id, rss, held: heapUsed + external, sessions: app.get(WsSessions).size });
});
console.log(`ws://127.0.0.1:${app.getHttpServer().address().port}/ws`);
