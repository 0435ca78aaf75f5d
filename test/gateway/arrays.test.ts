import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsInt, IsString } from 'class-validator';
import { finalizeEvent, generateSecretKey, verifyEvent } from 'nostr-tools/pure';
import { AbstractRelay } from 'nostr-tools/abstract-relay';
import { OcppClient } from 'ocpp-ts';
import { concat, NEVER, of } from 'rxjs';
import type { Observable } from 'rxjs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import {
  arrays,
  GatewayError,
  PathParam,
  Public,
  Roles,
  UseConnectionGuards,
  UseProtocol,
  WsMonitor,
  WsSessions,
} from '../../src/index.js';
import type { ConnectionAttempt } from '../../src/index.js';
import { OVER_TLS, startApp, stopApps, until } from '../support/app.js';
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

class Boot {
  @IsString() chargePointVendor!: string;
  @IsString() chargePointModel!: string;
}

let stations: unknown[] = [];
const knows = { canConnect: ({ params }: ConnectionAttempt) => String(params.station).startsWith('CP') };

@Public()
@UseConnectionGuards(knows)
@UseProtocol(arrays({ like: 'ocpp' }))
@WebSocketGateway({ path: '/ocpp/:station' })
class CentralSystem {
  @SubscribeMessage('BootNotification') boot(@MessageBody() _: Boot, @PathParam('station') station: string): object {
    stations.push(station);
    return { status: 'Accepted', currentTime: '2026-01-01T00:00:00Z', interval: 60 };
  }
  @SubscribeMessage('Heartbeat') async heartbeat(): Promise<object> {
    return { currentTime: '2026-01-01T00:00:00Z' };
  }
  @SubscribeMessage('StatusNotification') status(): void {}
  @SubscribeMessage('Authorize') authorize(): never {
    throw new Error('secret');
  }
  @SubscribeMessage('CallResult') answered(@MessageBody() data: unknown): void {
    stations.push(data);
  }
  @SubscribeMessage('NotifyPeriodicEventStream') notified(@MessageBody() data: unknown): object {
    stations.push(data);
    return { nobody: 'asked' };
  }
  @SubscribeMessage('CallResultError') refused(@MessageBody() data: unknown): void {
    stations.push(data);
  }
  @SubscribeMessage('CallError') failed(@MessageBody() data: unknown): void {
    stations.push(data);
  }
}

interface NostrEvent {
  readonly id: string;
  readonly kind: number;
  readonly content: string;
}

let stored: NostrEvent[] = [];
let subscribed = 0;

@Public()
@UseProtocol(arrays({ like: 'nostr' }))
@WebSocketGateway({ path: '/nostr' })
class Relay {
  @SubscribeMessage('EVENT') publish(@MessageBody() event: NostrEvent): unknown {
    if (event.kind === 7) return 'blocked: no reactions';
    if (event.kind === 8) throw new Error('secret');
    stored.push(event);
    return undefined;
  }
  @SubscribeMessage('REQ') request(@MessageBody() [filter]: [{ kinds?: number[] }]): Observable<unknown> {
    subscribed++;
    const matching = stored.filter(({ kind }) => filter?.kinds?.includes(kind) !== false);
    return concat(of(...matching, { event: 'EOSE', data: undefined }), NEVER);
  }
  @SubscribeMessage('COUNT') count(@MessageBody() filters: unknown[]): object {
    if (filters.length > 2) throw new GatewayError('VALIDATION_FAILED');
    return { count: stored.length * filters.length };
  }
  @SubscribeMessage('AUTH') auth(@MessageBody() { kind }: NostrEvent): unknown {
    return kind === 22_242 || 'invalid: of another kind';
  }
  @Roles('admin') @SubscribeMessage('ADMIN') admin(): number {
    return 1;
  }
}

let test: TestApp;
beforeAll(async () => {
  test = await startApp({
    gateways: [Plain, CentralSystem, Relay],
    options: { auth: { anonymous: true }, limits: { maxBadFrames: 1_000 } },
  });
});
afterAll(stopApps);
beforeEach(() => {
  [stations, stored, subscribed] = [[], [], 0];
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

describe('arrays like OCPP-J', () => {
  const connect = (protocols = ['ocpp1.6']): Promise<RawClient> =>
    RawClient.connect(`${test.url}/ocpp/CP1`, { protocols, token: token() });

  it.each([
    [
      [2, '1', 'Heartbeat', {}],
      [3, '1', { currentTime: '2026-01-01T00:00:00Z' }],
    ],
    [
      [2, '1', 'StatusNotification', {}],
      [3, '1', {}],
    ],
    [
      [2, '1', 'BootNotification', {}],
      [4, '1', 'FormationViolation', expect.any(String), named('VALIDATION_FAILED')],
    ],
    [
      [2, '1', 'Nothing', {}],
      [4, '1', 'NotImplemented', expect.any(String), named('UNKNOWN_EVENT')],
    ],
    [
      [2, '1', 'Authorize', {}],
      [4, '1', 'InternalError', 'Internal error', named('INTERNAL')],
    ],
    [
      [2, '1'],
      [4, '1', 'ProtocolError', 'Not an OCPP-J message', named('BAD_FRAME')],
    ],
  ])('answers %j with %j', async (call, answer) => {
    const client = await connect();
    expect(client.socket.protocol).toBe('ocpp1.6');
    expect(await client.ask(call)).toEqual(answer);
  });

  it('has the errors of the version that was selected', async () => {
    const client = await connect(['ocpp2.0.1', 'ocpp1.6']);
    expect(await client.ask([2, '1', 'BootNotification', {}])).toEqual([
      4,
      '1',
      'FormatViolation',
      expect.any(String),
      named('VALIDATION_FAILED'),
    ]);
  });

  it('says nothing where no call can be answered, and counts it', async () => {
    const client = await connect();
    for (const message of [[2, '', 'Heartbeat', {}], [2, 'x'.repeat(37), 'Heartbeat', {}], [9, '1'], {}, '{']) {
      client.send(message);
    }
    expect(await client.ask([2, '1', 'StatusNotification', {}])).toEqual([3, '1', {}]);
    expect(test.log.lines.map(({ code }) => code)).toEqual(Array.from({ length: 5 }, () => 'BAD_FRAME'));
  });

  it.each([['{'], [{}], [[2, 1, 'StatusNotification', {}]], [[2, 'x'.repeat(37), 'StatusNotification', {}]]])(
    'answers %j under "-1" where the version is 2, since it may be a call',
    async (message) => {
      const client = await connect(['ocpp2.1']);
      expect(await client.ask(message)).toEqual([4, '-1', 'RpcFrameworkError', expect.any(String), named('BAD_FRAME')]);
    },
  );

  it('never answers what is no call', async () => {
    const failed: string[] = [];
    const stop = test.app.get(WsMonitor).on('request', ({ code }) => void failed.push(code));
    const client = await connect(['ocpp2.1']);
    for (const message of [[3], [3, 1, {}], [4], [5], [6], [7, '1', {}]]) client.send(message);
    expect(await client.ask([2, '1', 'StatusNotification', {}])).toEqual([3, '1', {}]);
    expect(failed).toEqual(Array.from({ length: 6 }, () => 'BAD_FRAME'));
    stop();
  });

  it('takes what needs no answer, and the errors of results', async () => {
    const client = await connect(['ocpp2.1']);
    client.send([6, '1', 'NotifyPeriodicEventStream', { id: 123 }]);
    client.send([6, '2', 'BootNotification', {}]);
    client.send([5, '3', 'FormatViolation', 'no', {}]);
    expect(await client.ask([2, '4', 'StatusNotification', {}])).toEqual([3, '4', {}]);
    expect(stations).toEqual([{ id: 123 }, { id: '3', code: 'FormatViolation', description: 'no', details: {} }]);
  });

  it('calls the station, and hands over its answers as events', async () => {
    const client = await connect();
    await client.ask([2, '1', 'StatusNotification', {}]);
    const [session] = test.app.get(WsSessions).find();
    session?.send('Reset', { type: 'Soft' });
    const call = (await client.json()) as [number, string, string, object];
    expect(call).toEqual([2, expect.any(String), 'Reset', { type: 'Soft' }]);
    client.send([3, call[1], { status: 'Accepted' }]);
    client.send([4, call[1], 'GenericError', 'no', { a: 1 }]);
    await client.ask([2, '2', 'StatusNotification', {}]);
    expect(stations).toEqual([
      { id: call[1], payload: { status: 'Accepted' } },
      { id: call[1], code: 'GenericError', description: 'no', details: { a: 1 } },
    ]);
    session?.close('CONFLICT');
    expect(await client.rest()).toEqual([]);
  });

  it.skipIf(OVER_TLS)('serves two stations on ocpp-ts, a public client', async () => {
    const clients = ['CP1', 'CP2'].map((name) => {
      const station = new OcppClient(name);
      const connected = new Promise<void>((resolve, reject) => station.on('connect', resolve).on('error', reject));
      station.connect(`${test.url}/ocpp/`);
      return { station, connected };
    });
    for (const { station, connected } of clients) {
      await connected;
      const boot = await station.callRequest('BootNotification', { chargePointVendor: 'v', chargePointModel: 'm' });
      expect(boot).toMatchObject({ status: 'Accepted', interval: 60 });
      const status = { connectorId: 1, errorCode: 'NoError', status: 'Available' } as const;
      expect(await station.callRequest('StatusNotification', status)).toEqual({});
    }
    expect(stations).toEqual(['CP1', 'CP2']);
    const [first] = clients;
    await expect(first?.station.callRequest('Authorize', { idTag: '1' })).rejects.toMatchObject({
      code: 'InternalError',
    });
    const reset = new Promise((resolve) => {
      first?.station.on('Reset', (request, answer) => {
        answer({ status: 'Accepted' });
        resolve(request);
      });
    });
    const [session] = test.app.get(WsSessions).find();
    session?.send('Reset', { type: 'Soft' });
    expect(await reset).toEqual({ type: 'Soft' });
    await until(() => stations.length === 3);
    expect(stations[2]).toMatchObject({ payload: { status: 'Accepted' } });
  });
});

describe('arrays like nostr', () => {
  let client: RawClient;
  beforeEach(async () => void (client = await RawClient.connect(`${test.url}/nostr`)));
  const event = (kind: number): object => ({ id: 'e'.repeat(64), kind, content: 'hi' });

  it.each([
    [
      ['EVENT', event(1)],
      ['OK', 'e'.repeat(64), true, ''],
    ],
    [
      ['EVENT', event(7)],
      ['OK', 'e'.repeat(64), false, 'blocked: no reactions'],
    ],
    [
      ['EVENT', event(8)],
      ['OK', 'e'.repeat(64), false, 'error: Internal error'],
    ],
    [
      ['COUNT', 'c', {}],
      ['COUNT', 'c', { count: 0 }],
    ],
    [
      ['COUNT', 'c', {}, {}, {}],
      ['CLOSED', 'c', 'invalid: The payload is not valid'],
    ],
    [['COUNT'], ['NOTICE', 'invalid: A subscription has an id']],
    [
      ['AUTH', event(22_242)],
      ['OK', 'e'.repeat(64), true, ''],
    ],
    [
      ['AUTH', event(1)],
      ['OK', 'e'.repeat(64), false, 'invalid: of another kind'],
    ],
    [
      ['REQ', 's', {}],
      ['EOSE', 's'],
    ],
    [
      ['ADMIN', 'x'],
      ['NOTICE', 'auth-required: Authentication required'],
    ],
    [['NOTHING'], ['NOTICE', 'auth-required: Authentication required']],
    [['REQ'], ['NOTICE', 'invalid: A subscription has an id']],
    [
      ['REQ', 'x'.repeat(65), {}],
      ['NOTICE', 'invalid: A subscription has an id'],
    ],
    [[1], ['NOTICE', 'invalid: Not a message of NIP-01']],
    ['{', ['NOTICE', 'invalid: Not JSON']],
  ])('answers %j with %j', async (message, answer) => {
    expect(await client.ask(message)).toEqual(answer);
  });

  it('replaces a subscription of the same id, and ends one by CLOSE, without a word', async () => {
    for (let i = 0; i < 100; i++) expect(await client.ask(['REQ', 's', {}])).toEqual(['EOSE', 's']);
    client.send(['CLOSE', 's']);
    expect(await client.ask(['COUNT', 'c', {}])).toEqual(['COUNT', 'c', { count: 0 }]);
    expect(subscribed).toBe(100);
  });

  it('tells of pushes and ends as notices', async () => {
    const [session] = test.app.get(WsSessions).find();
    session?.send('NOTICE', 'soon');
    session?.close('CONFLICT');
    expect((await client.rest()).map((text) => JSON.parse(text.toString()) as unknown)).toEqual([
      ['NOTICE', 'soon'],
      ['NOTICE', 'Conflict'],
    ]);
  });

  it.skipIf(OVER_TLS)('serves nostr-tools, a public client', async () => {
    const relay = new AbstractRelay(`${test.url}/nostr`, { verifyEvent, websocketImplementation: WebSocket as never });
    await relay.connect();
    const key = generateSecretKey();
    const note = finalizeEvent({ kind: 1, created_at: 1_700_000_000, tags: [], content: 'hello' }, key);
    const reaction = finalizeEvent({ kind: 7, created_at: 1_700_000_000, tags: [], content: '+' }, key);
    await relay.publish(note);
    await expect(relay.publish(reaction)).rejects.toThrow('blocked: no reactions');
    const seen: string[] = [];
    const ended = new Promise<void>((resolve) => {
      relay.subscribe([{ kinds: [1] }], { onevent: ({ content }) => seen.push(content), oneose: resolve });
    });
    await ended;
    expect(seen).toEqual(['hello']);
    expect(await relay.count([{ kinds: [1] }], {})).toBe(1);
    relay.close();
  });
});
