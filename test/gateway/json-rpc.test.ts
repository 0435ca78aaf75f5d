import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsInt } from 'class-validator';
import { JSONRPCClient } from 'json-rpc-2.0';
import { of } from 'rxjs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { GatewayError, jsonRpc, Public, UseProtocol, WsSessions } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { RawClient } from '../support/raw-client.js';
import { token } from '../support/tokens.js';

class Pair {
  @IsInt() a!: number;
  @IsInt() b!: number;
}

let noted: unknown[] = [];
let gates: (() => void)[] = [];

@UseProtocol(jsonRpc({ maxBatch: 5 }))
@WebSocketGateway({ path: '/rpc' })
class Rpc {
  @SubscribeMessage('add') add(@MessageBody() { a, b }: Pair): number {
    return a + b;
  }
  @SubscribeMessage('echo') echo(@MessageBody() data: unknown): unknown {
    return data;
  }
  @SubscribeMessage('note') note(@MessageBody() data: unknown): void {
    noted.push(data);
  }
  @SubscribeMessage('fail') fail(): never {
    throw new GatewayError('ORDER_CLOSED', { message: 'The order is closed', details: { order: 1 } });
  }
  @SubscribeMessage('break') break(): never {
    throw new Error('secret');
  }
  @SubscribeMessage('count') count(): unknown {
    return of(1, 2);
  }
  @SubscribeMessage('slow') async slow(): Promise<string> {
    await new Promise<void>((resolve) => gates.push(resolve));
    return 'slow';
  }
  @SubscribeMessage('big') big(): string {
    return 'x'.repeat(40_000);
  }
  @Public() @SubscribeMessage('open') open(): null {
    return null;
  }
}

let test: TestApp;
let client: RawClient;
beforeAll(async () => void (test = await startApp({ gateways: [Rpc], options: { limits: { maxBadFrames: 1_000 } } })));
afterAll(stopApps);
beforeEach(async () => {
  [noted, gates] = [[], []];
  client = await RawClient.connect(`${test.url}/rpc`, { token: token() });
});
afterEach(async () => {
  for (const { socket } of test.app.get(WsSessions).find()) socket.terminate();
  await until(() => test.app.get(WsSessions).count() === 0);
});

const request = (method: string, params?: unknown, id?: unknown): object => ({ jsonrpc: '2.0', method, params, id });
const result = (value: unknown, id: unknown): object => ({ jsonrpc: '2.0', result: value, id });
const error = (code: number, name: string, id: unknown): unknown => ({
  jsonrpc: '2.0',
  error: expect.objectContaining({ code, data: expect.objectContaining({ code: name }) as unknown }) as unknown,
  id,
});

describe('JSON-RPC', () => {
  it.each([1, 0, -1, 1.5, 'a', '', 'x'.repeat(200), null])('answers a request with the id %j', async (id) => {
    expect(await client.ask(request('add', { a: 1, b: 2 }, id))).toEqual(result(3, id));
  });

  it.each([
    [undefined, null],
    [[], []],
    [
      [1, 'a'],
      [1, 'a'],
    ],
    [{}, {}],
  ])('hands over the params %j', async (params, back) => {
    expect(await client.ask(request('echo', params, 1))).toEqual(result(back, 1));
  });

  it.each([
    ['{', -32700, 'BAD_FRAME', null],
    ['"a.b.c"', -32600, 'BAD_FRAME', null],
    ['a.b.c', -32700, 'BAD_FRAME', null],
    ['[]', -32600, 'BAD_FRAME', null],
    ['{}', -32600, 'BAD_FRAME', null],
    [{ jsonrpc: '1.0', method: 'echo', id: 7 }, -32600, 'BAD_FRAME', 7],
    [{ ...request('echo', undefined, 7), method: 1 }, -32600, 'BAD_FRAME', 7],
    [request('', undefined, 7), -32600, 'BAD_FRAME', 7],
    [request('echo', 'text', 7), -32600, 'BAD_FRAME', 7],
    [{ ...request('echo'), params: null, id: 7 }, -32600, 'BAD_FRAME', 7],
    [request('echo', [], { a: 1 }), -32600, 'BAD_FRAME', null],
    ['{"jsonrpc":"2.0","method":"echo","params":{"__proto__":{}},"id":1}', -32600, 'BAD_FRAME', null],
    [`{"jsonrpc":"2.0","method":"echo","params":${'['.repeat(99)}${']'.repeat(99)},"id":1}`, -32600, 'BAD_FRAME', null],
    [request('nothing', [], 7), -32601, 'UNKNOWN_EVENT', 7],
    [request('add', { a: 'x', b: 2 }, 7), -32602, 'VALIDATION_FAILED', 7],
    [request('break', [], 7), -32603, 'INTERNAL', 7],
    [request('fail', [], 7), -32000, 'ORDER_CLOSED', 7],
  ])('answers %j with %j', async (message, code, name, id) => {
    const answer = await client.ask(message);
    expect(answer).toEqual(error(code, name, id));
    expect(JSON.stringify(answer)).not.toContain('secret');
  });

  it('never answers a notification, nor an answer', async () => {
    client.send(request('note', { a: 1 }));
    client.send(request('fail'));
    client.send(request('nothing'));
    client.send(request('add', { a: 'x' }));
    client.send(result(1, 1));
    client.send({ jsonrpc: '2.0', error: { code: -32600, message: 'x' }, id: null });
    expect(await client.ask(request('echo', ['last'], 9))).toEqual(result(['last'], 9));
    expect(noted).toEqual([{ a: 1 }]);
  });

  it('answers a batch with one array, when its last answer is there', async () => {
    client.send([
      request('slow', [], 1),
      request('note', [1]),
      1,
      request('add', { a: 1, b: 1 }, 2),
      request('nothing', [], 3),
    ]);
    await until(() => gates.length === 1);
    gates[0]?.();
    expect(await client.json()).toEqual([
      error(-32600, 'BAD_FRAME', null),
      result(2, 2),
      error(-32601, 'UNKNOWN_EVENT', 3),
      result('slow', 1),
    ]);
    client.send([request('note', [2]), request('cancel', { id: 1 }, 'c')]);
    expect(await client.ask([request('echo', [], 4)])).toEqual([result([], 4)]);
    expect(noted).toEqual([[1], [2]]);
  });

  it('has a bound for a batch, and for the answers that it holds back', async () => {
    expect(await client.ask(Array.from({ length: 6 }, (_, id) => request('echo', [], id)))).toEqual(
      error(-32600, 'BAD_FRAME', null),
    );
    client.send([request('slow', [], 1), ...[2, 3, 4, 5].map((id) => request('big', [], id))]);
    expect(await client.json()).toHaveLength(2);
    expect(await client.json()).toHaveLength(2);
    gates[0]?.();
    expect(await client.json()).toEqual([result('slow', 1)]);
  });

  it('sends the values of a stream as notifications, and its end as the answer', async () => {
    client.send(request('count', [], 's'));
    expect([await client.json(), await client.json(), await client.json()]).toEqual([
      { jsonrpc: '2.0', method: 'count', params: { subscription: 's', result: 1 } },
      { jsonrpc: '2.0', method: 'count', params: { subscription: 's', result: 2 } },
      result(null, 's'),
    ]);
  });

  it('pushes notifications, and says why it closes', async () => {
    const [session] = test.app.get(WsSessions).find();
    for (const data of [{ a: 1 }, [1], 1, null, undefined]) session?.send('news', data);
    session?.close('CONFLICT');
    expect((await client.rest()).map((text) => JSON.parse(text.toString()) as unknown)).toEqual([
      { jsonrpc: '2.0', method: 'news', params: { a: 1 } },
      { jsonrpc: '2.0', method: 'news', params: [1] },
      { jsonrpc: '2.0', method: 'news', params: [1] },
      { jsonrpc: '2.0', method: 'news', params: [null] },
      { jsonrpc: '2.0', method: 'news' },
      {
        jsonrpc: '2.0',
        method: 'disconnect',
        params: expect.objectContaining({ code: 'CONFLICT', closeCode: 4400 }) as unknown,
      },
    ]);
  });

  it('signs in, and tells a stranger nothing', async () => {
    const stranger = await RawClient.connect(`${test.url}/rpc`);
    expect(await stranger.ask(request('add', {}, 1))).toEqual(error(-32000, 'UNAUTHENTICATED', 1));
    expect(await stranger.ask(request('nothing', {}, 2))).toEqual(error(-32000, 'UNAUTHENTICATED', 2));
    expect(await stranger.ask(request('open', {}, 3))).toEqual(result(null, 3));
    expect(await stranger.ask(request('auth', { token: token() }, 4))).toMatchObject(result({ subject: 'ada' }, 4));
    expect(await stranger.ask(request('add', { a: 1, b: 1 }, 5))).toEqual(result(2, 5));
  });

  it('ends the session of a binary message with 1003', async () => {
    client.send(Buffer.from('{}'));
    expect((await client.closed).code).toBe(1003);
  });

  it('serves json-rpc-2.0, a public client', async () => {
    const peer = await RawClient.connect(`${test.url}/rpc`, { token: token() });
    const rpc: JSONRPCClient = new JSONRPCClient((message) => peer.send(message));
    peer.socket.on('message', (data: Buffer) => rpc.receive(JSON.parse(data.toString()) as never));
    expect(await rpc.request('add', { a: 2, b: 3 })).toBe(5);
    await expect(rpc.request('add', { a: 'x' })).rejects.toMatchObject({ code: -32602 });
    rpc.notify('note', [3]);
    const batch = [1, 2, 3].map((a) => ({ jsonrpc: '2.0' as const, id: `b${a}`, method: 'add', params: { a, b: a } }));
    expect((await rpc.requestAdvanced(batch)).map((answer) => answer.result as unknown)).toEqual([2, 4, 6]);
    expect(noted).toEqual([[3]]);
  });

  it('refuses a bound that cannot be', () => {
    for (const maxBatch of [0, 1_001, 1.5, NaN]) expect(() => jsonRpc({ maxBatch })).toThrow('maxBatch is 1 to 1000');
  });
});
