import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsInt } from 'class-validator';
import { of } from 'rxjs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { arrays, Roles, UseProtocol, WsSessions } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { RawClient } from '../support/raw-client.js';
import { token } from '../support/tokens.js';

class Move {
  @IsInt() x!: number;
}

@UseProtocol(arrays())
@WebSocketGateway({ path: '/arrays' })
class Plain {
  @SubscribeMessage('move') move(@MessageBody() { x }: Move): number {
    return x;
  }
  @SubscribeMessage('echo') echo(@MessageBody() data: unknown): unknown {
    return data;
  }
  @SubscribeMessage('two') two(): unknown {
    return { event: 'both', data: [1, 2] };
  }
  @SubscribeMessage('stream') stream(): unknown {
    return of(1, 2);
  }
  @Roles('admin') @SubscribeMessage('admin') admin(): number {
    return 1;
  }
}

let test: TestApp;
beforeAll(async () => {
  test = await startApp({
    gateways: [Plain],
    options: { auth: { anonymous: true }, limits: { maxBadFrames: 1_000 } },
  });
});
afterAll(stopApps);
beforeEach(() => {
  test.log.lines.length = 0;
});
afterEach(async () => {
  for (const { socket } of test.app.get(WsSessions).find()) socket.terminate();
  await until(() => test.app.get(WsSessions).count() === 0);
});

const named = (code: string): unknown => expect.objectContaining({ code }) as unknown;

describe('arrays', () => {
  let client: RawClient;
  beforeEach(async () => void (client = await RawClient.connect(`${test.url}/arrays`, { token: token() })));

  it.each([
    [
      ['move', { x: 1 }],
      ['move', 1],
    ],
    [
      ['echo', 'a'],
      ['echo', 'a'],
    ],
    [
      ['echo', 1, 2],
      ['echo', 1, 2],
    ],
    [
      ['echo', [1]],
      ['echo', 1],
    ],
    [['two'], ['both', 1, 2]],
    [['ping'], ['pong', null]],
    [['session'], ['session', expect.objectContaining({ subject: 'ada' })]],
    [
      ['move', { x: 'a' }],
      ['exception', named('VALIDATION_FAILED')],
    ],
    [['admin'], ['exception', named('FORBIDDEN')]],
    [['nothing'], ['exception', named('UNKNOWN_EVENT')]],
    [[], ['exception', named('BAD_FRAME')]],
    [[1], ['exception', named('BAD_FRAME')]],
    [{ event: 'echo' }, ['exception', named('BAD_FRAME')]],
    ['{', ['exception', named('BAD_FRAME')]],
    ['["echo",{"__proto__":1}]', ['exception', named('BAD_FRAME')]],
    [`["echo",${'['.repeat(99)}${']'.repeat(99)}]`, ['exception', named('BAD_FRAME')]],
  ])('answers %j with %j', async (message, answer) => {
    expect(await client.ask(message)).toEqual(answer);
  });

  it('has no end of a stream, pushes, and says why it closes', async () => {
    client.send(['stream']);
    expect([await client.json(), await client.json()]).toEqual([
      ['stream', 1],
      ['stream', 2],
    ]);
    const [session] = test.app.get(WsSessions).find();
    session?.send('news', [1, 2]);
    session?.send('news', undefined);
    session?.close('CONFLICT');
    expect((await client.rest()).map((text) => JSON.parse(text.toString()) as unknown)).toEqual([
      ['news', 1, 2],
      ['news'],
      ['disconnect', named('CONFLICT')],
    ]);
  });

  it('sign in by an event', async () => {
    const stranger = await RawClient.connect(`${test.url}/arrays`);
    expect(await stranger.ask(['admin'])).toEqual(['exception', named('UNAUTHENTICATED')]);
    expect(await stranger.ask(['auth', { token: token({ roles: ['admin'] }) }])).toEqual([
      'auth',
      expect.objectContaining({ subject: 'ada' }),
    ]);
    expect(await stranger.ask(['admin'])).toEqual(['admin', 1]);
  });
});
