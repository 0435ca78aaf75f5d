import { ParseIntPipe } from '@nestjs/common';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { CurrentSession, PathParam, UseConnectionGuards, WsMonitor, WsSession } from '../../src/index.js';
import type { ConnectionAttempt, PathParams } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client, fetchFrom, refusal } from '../support/client.js';
import { token } from '../support/tokens.js';

let seen: unknown[] = [];

const guard = { canConnect: ({ path, params }: ConnectionAttempt) => seen.push([path, { ...params }]) > 0 };

@UseConnectionGuards(guard)
@WebSocketGateway({ path: '/ocpp/:version/:station' })
class Stations {
  handleConnection(@PathParam('station') station: string): void {
    seen.push(station);
  }
  @SubscribeMessage('who') who(
    @PathParam('station') station: string,
    @PathParam() all: PathParams,
    @CurrentSession() { params }: WsSession,
  ): unknown[] {
    return [station, all, params];
  }
}

@WebSocketGateway({ path: '/room/:id' })
class Rooms {
  @SubscribeMessage('room') room(@PathParam('id', ParseIntPipe) id: number): number {
    return id;
  }
}

@WebSocketGateway({ path: '/files/*path' })
class Files {
  @SubscribeMessage('path') path(@PathParam('path') path: string[]): string[] {
    return path;
  }
}

@WebSocketGateway({ path: '/files/special' })
class Special {
  @SubscribeMessage('path') path(@CurrentSession() { params }: WsSession): unknown {
    return params;
  }
}

let test: TestApp;
beforeAll(async () => {
  test = await startApp({ gateways: [Stations, Rooms, Files, Special] });
});
afterAll(stopApps);
beforeEach(() => {
  seen = [];
  test.log.lines.length = 0;
});

const connect = (path: string): Promise<Client> => Client.connect(`${test.url}${path}`, { token: token() });

describe('a path with parameters', () => {
  it('gives them to handlers, hooks, guards and the session, decoded', async () => {
    const client = await connect('/ocpp/1.6/CS%20%C3%BC%2F1?x=1');
    const params = { version: '1.6', station: 'CS ü/1' };
    expect(await client.ask({ event: 'who', id: 1 })).toMatchObject({ data: ['CS ü/1', params, params] });
    expect(seen).toEqual([['/ocpp/:version/:station', params], 'CS ü/1']);
    expect(await client.ask({ event: 'ping', id: 2 })).toMatchObject({ event: 'pong' });
    await client.close();
  });

  it('takes pipes for one of them', async () => {
    const client = await connect('/room/12/');
    expect(await client.ask({ event: 'room', id: 1 })).toMatchObject({ data: 12 });
    const other = await connect('/room/twelve');
    expect(await other.ask({ event: 'room', id: 1 })).toMatchObject({ data: { code: 'VALIDATION_FAILED' } });
  });

  it('may be a wildcard, and what is narrower goes first', async () => {
    const client = await connect('/files/a/b');
    expect(await client.ask({ event: 'path', id: 1 })).toMatchObject({ data: ['a', 'b'] });
    const special = await connect('/files/special');
    expect(await special.ask({ event: 'path', id: 1 })).toMatchObject({ data: {} });
  });

  it.each(['/room/%', '/room/%E0%A4%A', '/files/a/%zz/c', '/ocpp/%ff/x'])(
    'is 400 where %s is malformed',
    async (path) => {
      expect(await refusal(`${test.url}${path}`)).toMatchObject({
        status: 400,
        body: { code: 'BAD_UPGRADE', message: 'Malformed percent-encoding in the path' },
      });
      expect(test.log.lines).toMatchObject([{ code: 'BAD_UPGRADE' }]);
    },
  );

  it.each(['/room', '/room/a/b', '/Room/1', `/room/${'1'.repeat(4_000)}`])('does not serve %s', async (path) => {
    expect((await refusal(`${test.url}${path}`)).status).toBe(404);
  });

  it('is 426 for plain HTTP', async () => {
    expect((await fetchFrom(test.url, '/room/1')).status).toBe(426);
    expect((await fetchFrom(test.url, '/room/%')).status).toBe(426);
    expect((await fetchFrom(test.url, '/room')).status).toBe(404);
  });

  it('is told of by its pattern', async () => {
    const paths: string[] = [];
    const off = test.app.get(WsMonitor).on('admitted', ({ path }) => void paths.push(path));
    await (await connect('/room/1')).close();
    await (await connect('/room/2')).close();
    off();
    expect(paths).toEqual(['/room/:id', '/room/:id']);
  });
});

describe('the start', () => {
  const gatewayAt = (path: string): new () => object => {
    @WebSocketGateway({ path })
    class Gateway {
      @SubscribeMessage('x') x(@PathParam('id') id: string): string {
        return id;
      }
    }
    return Gateway;
  };

  it.each([
    ['two paths that can match the same', ['/a/:id', '/:id/b'], 'can match the same path: make one the narrower'],
    ['a path that cannot be read', ['/a/:id/*'], "A gateway's path cannot be read: Missing parameter name"],
    [
      'a path with a query',
      ['/a?id=1'],
      `A gateway's path cannot be read: it has a space, "?", "#" or a letter that clients send percent-encoded: /a?id=1`,
    ],
    ['a path with a fragment', ['/a/:id#x'], `A gateway's path cannot be read: it has a space, "?", "#" or a letter`],
    ['a path with a space', ['/a b'], `A gateway's path cannot be read: it has a space, "?", "#" or a letter`],
    ['a letter that comes encoded', ['/räume/:id'], 'clients send percent-encoded: /räume/:id'],
    ['several paths', [['/a', '/b'] as unknown as string], "A gateway's path cannot be read: it is no text"],
    ['a regular expression', [/^x/ as unknown as string], "A gateway's path cannot be read: it is no text"],
    ['a parameter that the path does not have', ['/a/:other'], 'Gateway.x: the path /a/:other has no parameter "id"'],
  ])('is stopped by %s', async (_, paths, problem) => {
    await expect(startApp({ gateways: paths.map(gatewayAt) })).rejects.toThrow(problem);
  });

  it('takes two gateways at one pattern', async () => {
    @WebSocketGateway({ path: '/room/:id' })
    class MoreOfRooms {
      @SubscribeMessage('more') more(@PathParam('id') id: string): string {
        return id;
      }
    }
    const { url } = await startApp({ gateways: [Rooms, MoreOfRooms] });
    const client = await Client.connect(`${url}/room/7`, { token: token() });
    expect(await client.ask({ event: 'more', id: 1 })).toMatchObject({ data: '7' });
    expect(await client.ask({ event: 'room', id: 1 })).toMatchObject({ data: 7 });
  });
});
