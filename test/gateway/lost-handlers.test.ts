import { Logger } from '@nestjs/common';
import type { Type } from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { MockInstance } from 'vitest';
import { PathParam, Public, RateLimit, Roles, SubscribeBinary } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

type Method = (...args: unknown[]) => unknown;

/** Decorators that put another function in the place of the method. */
const Timed = (): MethodDecorator => (_target, _name, descriptor: PropertyDescriptor) => {
  const method = descriptor.value as Method;
  descriptor.value = function timed(this: unknown, ...args: unknown[]): unknown {
    return method.apply(this, args);
  };
};
const Traced = (): MethodDecorator => (_target, _name, descriptor: PropertyDescriptor) => {
  descriptor.value = new Proxy(descriptor.value as Method, {});
};
const Copying = (): MethodDecorator => (target, name, descriptor: PropertyDescriptor) => {
  const method = descriptor.value as Method;
  Timed()(target, name, descriptor);
  for (const key of Reflect.getMetadataKeys(method)) {
    Reflect.defineMetadata(key, Reflect.getMetadata(key, method), descriptor.value as Method);
  }
};

let warn: MockInstance<Logger['warn']>;
beforeEach(() => (warn = vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined)));
afterEach(async () => {
  vi.restoreAllMocks();
  await stopApps();
});

const start = (...gateways: Type[]): ReturnType<typeof startApp> => startApp({ gateways });
const warnings = (): string[] => warn.mock.calls.map(([message]) => String(message));

it('stops the start where another decorator takes a handler away, and names all of them', async () => {
  @WebSocketGateway()
  class Orders {
    @Timed() @SubscribeMessage('place') place(@MessageBody() id: number): number {
      return id;
    }
    @Roles('admin') @Traced() @RateLimit({ limit: 1, perMs: 1_000 }) @SubscribeMessage('drop') drop(): string {
      return 'dropped';
    }
    @SubscribeMessage('kept') @Timed() kept(@MessageBody() id: number): number {
      return id;
    }
  }
  await expect(start(Orders)).rejects.toThrow(
    'Orders.place (decorated parameters), Orders.drop (@Roles(), @RateLimit()): a decorator puts another function in the place of the method',
  );
});

it('names in one warning the methods that may have been handlers', async () => {
  @WebSocketGateway()
  class Doubtful {
    @Timed() @SubscribeMessage('plain') plain(_client: unknown, data: unknown): unknown {
      return data;
    }
    @Public() forgotten(): string {
      return 'forgotten';
    }
  }
  await start(Doubtful);
  expect(warnings()).toEqual([
    expect.stringContaining('which have decorators: Doubtful.plain, Doubtful.forgotten (@Public()). If one'),
  ]);
});

it('keeps the handler of a decorator that copies what is written at the method', async () => {
  @WebSocketGateway()
  class Copied {
    @Copying() @SubscribeMessage('copied') copied(@MessageBody() id: number): number {
      return id;
    }
  }
  const { url } = await start(Copied);
  const client = await Client.connect(`${url}/ws`, { token: token() });
  expect(await client.ask({ event: 'copied', data: 7, id: 1 })).toMatchObject({ data: 7 });
  expect(warnings()).toEqual([]);
});

it('keeps a @SubscribeBinary() method below such a decorator', async () => {
  @WebSocketGateway({ path: '/audio' })
  class Audio {
    @Timed() @SubscribeBinary() part(@MessageBody() part: Buffer): number {
      return part.length;
    }
  }
  const { url } = await start(Audio);
  const client = await Client.connect(`${url}/audio`, { token: token() });
  client.socket.send(Buffer.from([1, 2, 3]));
  expect(await client.next()).toMatchObject({ event: 'binary', data: 3 });
});

it('says nothing of hooks, of helpers, and of an override that takes its handler away by itself', async () => {
  class Base {
    @Roles('admin') @SubscribeMessage('overridden') overridden(@MessageBody() data: unknown): unknown {
      return data;
    }
  }
  @WebSocketGateway({ path: '/rooms/:room' })
  class Quiet extends Base {
    @Timed() handleConnection(_socket: object, @PathParam('room') room: string): string {
      return room;
    }
    override overridden(data: unknown): unknown {
      return this.helper(data);
    }
    helper(data: unknown): unknown {
      return data;
    }
  }
  await start(Quiet);
  expect(warnings()).toEqual([]);
});
