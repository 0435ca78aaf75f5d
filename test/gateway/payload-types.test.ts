import { Logger, ParseArrayPipe, UsePipes, ValidationPipe } from '@nestjs/common';
import type { PipeTransform, Type } from '@nestjs/common';
import { ConnectedSocket, MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsInt } from 'class-validator';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { MockInstance } from 'vitest';
import { z } from 'zod';
import { SubscribeBinary, WsValidationPipe } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import type { TestAppOptions } from '../support/app.js';

class ItemDto {
  @IsInt() count!: number;
}
class NoRules {
  count!: number;
}
interface Item {
  count: number;
}
const own: PipeTransform = { transform: (value: unknown) => value };

@WebSocketGateway()
class SilentGateway {
  @SubscribeMessage('list') list(@MessageBody() items: ItemDto[]): unknown {
    return items;
  }
  @SubscribeMessage('union') union(@MessageBody() item: ItemDto | string): unknown {
    return item;
  }
  @SubscribeMessage('interface') shape(@MessageBody() item: Item): unknown {
    return item;
  }
  @SubscribeMessage('unknown') anything(@MessageBody() item: unknown): unknown {
    return item;
  }
  @SubscribeMessage('class') bare(@MessageBody() item: NoRules): unknown {
    return item;
  }
  @SubscribeMessage('part') part(@MessageBody('filter') filter: object): unknown {
    return filter;
  }
  @SubscribeMessage('undecorated') undecorated(_: object, item: unknown): unknown {
    return item;
  }
  @UsePipes(ValidationPipe) @SubscribeMessage('piped') piped(@MessageBody(new WsValidationPipe()) items: ItemDto[]) {
    return items;
  }
}

@WebSocketGateway()
class SayingGateway {
  @SubscribeMessage('dto') dto(@MessageBody() item: ItemDto): unknown {
    return item;
  }
  @SubscribeMessage('array') array(@MessageBody(new ParseArrayPipe({ items: ItemDto })) items: ItemDto[]): unknown {
    return items;
  }
  @SubscribeMessage('schema') schema(@MessageBody({ schema: z.array(z.int()) }) items: number[]): unknown {
    return items;
  }
  @SubscribeMessage('expected') expected(@MessageBody(new ValidationPipe({ expectedType: ItemDto })) item: unknown) {
    return item;
  }
  @UsePipes(own) @SubscribeMessage('own pipe') ownPipe(@MessageBody() item: unknown): unknown {
    return item;
  }
  @SubscribeMessage('text') text(@MessageBody() text: string, @MessageBody('n') n: number): unknown {
    return [text, n];
  }
  @SubscribeMessage('none') none(@ConnectedSocket() socket: object): unknown {
    return typeof socket;
  }
  @SubscribeMessage('undecorated') undecorated(_: object, item: ItemDto): unknown {
    return item;
  }
}

/** As esbuild and tsx build it: decorators, and no types. */
function untyped(parameter: ParameterDecorator = MessageBody()): Type {
  class BuiltGateway {
    add(item: unknown): unknown {
      return item;
    }
  }
  const descriptor = Object.getOwnPropertyDescriptor(BuiltGateway.prototype, 'add') as PropertyDescriptor; // because it is there
  parameter(BuiltGateway.prototype, 'add', 0);
  SubscribeMessage('add')(BuiltGateway.prototype, 'add', descriptor);
  WebSocketGateway()(BuiltGateway);
  return BuiltGateway;
}

let warn: MockInstance<(message: unknown) => void>;
beforeEach(() => void (warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue(undefined)));
afterEach(async () => {
  warn.mockRestore();
  await stopApps();
});

const warnings = async (gateway: Type, setup: TestAppOptions = {}): Promise<string[]> => {
  await startApp({ gateways: [gateway], ...setup });
  return warn.mock.calls
    .map(([message]) => String(message))
    .filter((message) => message.includes('checked by nothing'));
};

describe('a payload whose type says nothing', () => {
  const names = ['list', 'union', 'shape', 'anything', 'bare', 'part', 'undecorated', 'piped'];

  it('is one warning at the start, which names the handlers', async () => {
    const [warning, ...others] = await warnings(SilentGateway);
    expect(others).toEqual([]);
    for (const name of names) expect(warning).toContain(`SilentGateway.${name}`);
  });

  it('is one as well behind a ValidationPipe, which has nothing to check either', async () => {
    const before: TestAppOptions['before'] = (app) => app.useGlobalPipes(new ValidationPipe());
    expect(await warnings(SilentGateway, { before })).toHaveLength(1);
  });

  it('is none behind a pipe of the application’s own', async () => {
    expect(await warnings(SilentGateway, { before: (app) => app.useGlobalPipes(own) })).toEqual([]);
  });

  it('is none where a class, a schema, a pipe or a primitive says more', async () => {
    expect(await warnings(SayingGateway)).toEqual([]);
  });

  it('is none where the payload is bytes', async () => {
    @WebSocketGateway()
    class BinaryGateway {
      @SubscribeBinary() take(@MessageBody() part: Buffer): number {
        return part.length;
      }
    }
    expect(await warnings(BinaryGateway)).toEqual([]);
  });
});

describe('a build without the types of parameters', () => {
  it('stops the start with one sentence that says so', async () => {
    await expect(startApp({ gateways: [untyped()] })).rejects.toThrow(
      'BuiltGateway.add: the build has left out the type of its payload, so nothing would check it: compile with "emitDecoratorMetadata"',
    );
  });

  it('is none to a handler that needs no type', async () => {
    expect(await warnings(untyped(MessageBody({ schema: z.string() })))).toEqual([]);
    expect(await warnings(untyped(MessageBody(own)))).toEqual([]);
    expect(await warnings(untyped(ConnectedSocket()))).toEqual([]);
  });
});
