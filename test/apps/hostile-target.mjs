// A server to be attacked, in a process of its own: handlers at once and late, small and large answers. OPTIONS (JSON) are
// laid over the module's defaults, one level deep; what memory it holds is told over IPC.
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { Type } from 'class-transformer';
import { IsArray, IsString, ValidateNested } from 'class-validator';
import { Observable } from 'rxjs';
import { z } from 'zod';
import { Public, RateLimit, WsGatewayModule, WsSessions } from '../../dist/index.js';

const { PORT: port = '0', JWT_SECRET: secret, OPTIONS: options = '{}' } = process.env;
const { auth, ...rest } = JSON.parse(options, (_, value) => value ?? Infinity); // JSON has no Infinity

class Line {}
IsString()(Line.prototype, 'sku');
class OrderDto {}
IsArray()(OrderDto.prototype, 'lines');
ValidateNested({ each: true })(OrderDto.prototype, 'lines');
Type(() => Line)(OrderDto.prototype, 'lines');

class HostileGateway {
  echo(data) {
    return { event: 'echo', data: data ?? null };
  }
  /** Blocks the event loop for so many milliseconds. */
  block(ms) {
    const until = performance.now() + ms;
    while (performance.now() < until);
  }
  /** As many bytes as it is asked for. */
  large(bytes) {
    return 'x'.repeat(bytes);
  }
  /** Holds its message until long after its time is over. */
  slow(data) {
    return new Promise((resolve) => setTimeout(resolve, 60_000, data).unref());
  }
  /** Never ends. */
  stream(data) {
    return new Observable((subscriber) => subscriber.next(data === undefined));
  }
  /** Has no bound for its lines. */
  order(order) {
    return order.lines.length;
  }
  tags({ tags }) {
    return tags.length;
  }
  counted() {
    return 1;
  }
  broken() {
    throw new Error('a bug');
  }
}

function handles(method, ...decorators) {
  const descriptor = Object.getOwnPropertyDescriptor(HostileGateway.prototype, method);
  const body = method === 'tags' ? MessageBody({ schema: z.object({ tags: z.array(z.string()) }) }) : MessageBody();
  body(HostileGateway.prototype, method, 0);
  const type = method === 'order' ? OrderDto : Object;
  Reflect.defineMetadata('design:paramtypes', [type], HostileGateway.prototype, method);
  for (const decorate of [SubscribeMessage(method), ...decorators])
    decorate(HostileGateway.prototype, method, descriptor);
}

handles('echo', Public());
handles('block', Public());
handles('large');
handles('slow');
handles('stream');
handles('order');
handles('tags');
handles('counted', Public(), RateLimit({ limit: 2, perMs: 60_000 }));
handles('broken');
WebSocketGateway()(HostileGateway);

class TargetModule {}
Module({
  imports: [WsGatewayModule.forRoot({ ...rest, auth: { jwt: { secret }, ...auth } })],
  providers: [HostileGateway],
})(TargetModule);

const app = await NestFactory.create(TargetModule, { logger: ['error'] });
await app.listen(Number(port), '127.0.0.1');

process.on('disconnect', () => process.exit(0));
process.on('message', ({ id, collects }) => {
  // Twice: what the first pass finds dead outside the heap goes with the second.
  for (let i = 0; i < 2 && collects; i++) globalThis.gc?.();
  const { rss, heapUsed, external } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  const held = heapUsed + external;
  process.send({ id, rss, held, sessions: app.get(WsSessions).size, cpuMs: (user + system) / 1_000 });
});
console.log(`ws://127.0.0.1:${app.getHttpServer().address().port}/ws`);
