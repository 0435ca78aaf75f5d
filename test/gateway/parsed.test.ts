import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsInt } from 'class-validator';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { parsed, UseProtocol, WsSessions } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { FAULTS } from '../support/foreign.js';
import { RawClient } from '../support/raw-client.js';
import { token } from '../support/tokens.js';

class Point {
  @IsInt() x!: number;
}

/** As it is given to Nest's WsAdapter: `[event, data]`, or bytes of which the first says the event. */
const messageParser = (message: string | Buffer): never => {
  if (typeof message !== 'string') return { event: 'bytes', data: { x: message[0] } } as never;
  if (message === 'promise') return FAULTS.rejects() as never;
  if (message === 'nothing') return undefined as never;
  const [event, data, id] = JSON.parse(message) as unknown[];
  return (event === 'list' ? [] : { event, data, id, problem: data }) as never;
};

@UseProtocol(parsed(messageParser))
@WebSocketGateway({ path: '/parsed' })
class Gateway {
  @SubscribeMessage('point') point(@MessageBody() { x }: Point): number {
    return x;
  }
  @SubscribeMessage('bytes') bytes(@MessageBody() { x }: Point): number {
    return x;
  }
}

let test: TestApp;
let client: RawClient;
beforeAll(async () => void (test = await startApp({ gateways: [Gateway], options: { errors: { event: 'problem' } } })));
afterAll(stopApps);
beforeEach(async () => {
  test.log.lines.length = 0;
  client = await RawClient.connect(`${test.url}/parsed`, { token: token() });
});
afterEach(async () => {
  client.socket.terminate();
  await until(() => test.app.get(WsSessions).count() === 0);
});

it.each([
  [['point', { x: 1 }], { event: 'point', data: 1 }],
  [['point', { x: 1 }, 7], { event: 'point', data: 1, id: 7 }],
  [['point', { x: 1 }, { no: 'id' }], { event: 'point', data: 1 }],
  [Buffer.from([5]), { event: 'bytes', data: 5 }],
  [['point', { x: 'a' }, 7], { event: 'problem', data: { code: 'VALIDATION_FAILED' }, id: 7 }],
  [['unknown', 1, 7], { event: 'problem', data: { code: 'UNKNOWN_EVENT' }, id: 7 }],
  [['', 1, 7], { event: 'problem', data: { code: 'BAD_FRAME' }, id: 7 }],
  [[1, '<b>', 7], { event: 'problem', data: { code: 'BAD_FRAME', message: 'A message has an event' }, id: 7 }],
  [['list'], { event: 'problem', data: { code: 'BAD_FRAME' } }],
  ['{', { event: 'problem', data: { code: 'BAD_FRAME' } }],
  ['promise', { event: 'problem', data: { code: 'INTERNAL' } }],
])('%j is answered with %j', async (message, answer) => {
  expect(await client.ask(message)).toMatchObject(answer);
});

it('says nothing where there is nothing to do', async () => {
  client.send('nothing');
  expect(await client.ask(['point', { x: 2 }])).toMatchObject({ data: 2 });
  expect(test.log.lines).toEqual([]);
});

it('takes no JWT for a message, where it is one alone', async () => {
  const stranger = await RawClient.connect(`${test.url}/parsed`);
  stranger.send(token());
  expect(await stranger.json()).toMatchObject({ event: 'problem', data: { code: 'BAD_FRAME' } });
  stranger.socket.terminate();
});
