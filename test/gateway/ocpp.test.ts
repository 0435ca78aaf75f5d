import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsString } from 'class-validator';
import { OcppClient } from 'ocpp-ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { arrays, PathParam, Public, UseConnectionGuards, UseProtocol, WsMonitor, WsSessions } from '../../src/index.js';
import type { ConnectionAttempt } from '../../src/index.js';
import { OVER_TLS, startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { RawClient } from '../support/raw-client.js';
import { token } from '../support/tokens.js';

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

let test: TestApp;
beforeAll(async () => {
  test = await startApp({
    gateways: [CentralSystem],
    options: { auth: { anonymous: true }, limits: { maxBadFrames: 1_000 } },
  });
});
afterAll(stopApps);
beforeEach(() => {
  stations = [];
  test.log.lines.length = 0;
});
afterEach(async () => {
  for (const { socket } of test.app.get(WsSessions).find()) socket.terminate();
  await until(() => test.app.get(WsSessions).count() === 0);
});

const named = (code: string): unknown => expect.objectContaining({ code }) as unknown;

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
