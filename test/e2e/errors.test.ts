import { ConflictException, ForbiddenException, NotFoundException } from '@nestjs/common';
import { ConnectedSocket, MessageBody, SubscribeMessage, WebSocketGateway, WsException } from '@nestjs/websockets';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { WebSocket } from 'ws';
import {
  CurrentSession,
  EmailDto,
  ERRORS,
  GatewayError,
  Public,
  Roles,
  WsFirewall,
  WsSessions,
} from '../../src/index.js';
import type { CatalogueCode, WsSession } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp, TestAppOptions } from '../support/app.js';
import { Client, fetchFrom, refusal } from '../support/client.js';
import type { Frame } from '../support/client.js';
import { exchange, frame, freePort, handshake, parseAnswer, sendRaw } from '../support/tcp.js';
import { keyPair, signed, token } from '../support/tokens.js';
import { SessionRegistry } from '../../src/session/registry.js';

@WebSocketGateway()
class FailingGateway {
  @SubscribeMessage('email') email(@MessageBody() dto: EmailDto): EmailDto {
    return dto;
  }
  @Roles('admin') @SubscribeMessage('admin') admin(): string {
    return 'never';
  }
  @SubscribeMessage('not-found') notFound(): never {
    throw new NotFoundException('No such order');
  }
  @SubscribeMessage('conflict') conflict(): Promise<never> {
    return Promise.reject(new ConflictException());
  }
  @SubscribeMessage('forbidden') forbidden(): never {
    throw new ForbiddenException();
  }
  @SubscribeMessage('stock') stock(): never {
    throw new WsException('The text of the application');
  }
  @SubscribeMessage('own') own(): never {
    throw new GatewayError('ORDER_CLOSED', { message: 'Too late', details: { since: 1 }, retryAfterMs: 5 });
  }
  @SubscribeMessage('never') never(): Promise<never> {
    return new Promise(() => undefined);
  }
  @SubscribeMessage('throw') throwing(): never {
    throw new Error('the password is hunter2');
  }
  @SubscribeMessage('reject') rejecting(): Promise<never> {
    return Promise.reject(new TypeError('the password is hunter2'));
  }
  @SubscribeMessage('nothing') nothing(): never {
    throw undefined as unknown as Error;
  }
  @SubscribeMessage('bigint') bigint(): bigint {
    return 1n;
  }
  @SubscribeMessage('cycle') cycle(): object {
    const self: Record<string, unknown> = {};
    return Object.assign(self, { self });
  }
  @Public() @SubscribeMessage('flood') flood(@ConnectedSocket() socket: WebSocket): void {
    for (let i = 0; i < 200; i++) socket.send(JSON.stringify('x'.repeat(100_000)));
  }
  @SubscribeMessage('close') close(@CurrentSession() session: WsSession): void {
    session.close('ORDER_CLOSED');
  }
  @SubscribeMessage('bad-gateway') badGateway(@CurrentSession() session: WsSession): void {
    session.close('BAD_GATEWAY');
  }
  @SubscribeMessage('unavailable') unavailable(): never {
    throw new GatewayError('UNAVAILABLE', { retryAfterMs: 700 });
  }
  @SubscribeMessage('join-two') joinTwo(@CurrentSession() session: WsSession): void {
    for (const room of ['a', 'b']) session.join(room);
  }
  @SubscribeMessage('close-by-number') closeByNumber(@ConnectedSocket() socket: WebSocket): void {
    socket.close(4500);
  }
}

let test: TestApp;
const start = async (setup: TestAppOptions = {}): Promise<TestApp> =>
  (test = await startApp({ gateways: [FailingGateway], ...setup }));
const connect = (): Promise<Client> => Client.connect(`${test.url}/ws`, { token: token() });

beforeEach(async () => void (await start()));
afterEach(stopApps);

/** The exception that a request ends with; the session goes on. */
async function exceptionOf(request: object): Promise<Frame['data'] & object> {
  const client = await connect();
  const answer = await client.ask({ ...request, id: 'the-id' });
  expect(answer).toMatchObject({ event: 'exception', id: 'the-id', data: { status: 'error' } });
  expect(await client.ask({ event: 'ping', id: 2 })).toEqual({ event: 'pong', data: null, id: 2 });
  return answer.data as object;
}

/** The frames and the close that a connection ends with. */
async function endOf(client: Client): Promise<{ frames: Frame[]; code: number; reason: string }> {
  const frames = await client.rest();
  return { frames, ...(await client.closed) };
}

function expectDisconnect(end: Awaited<ReturnType<typeof endOf>>, code: CatalogueCode, reconnect: boolean): void {
  const closeCode = (ERRORS[code] as { close?: number }).close;
  expect(end.frames.at(-1)).toMatchObject({ event: 'disconnect', data: { code, closeCode, reconnect } });
  expect(end).toMatchObject({ code: closeCode, reason: code });
}

/** Raw bytes after the handshake: `disconnect`, then the close. */
async function expectProtocolEnd(bytes: Buffer, code: CatalogueCode): Promise<void> {
  const { texts, close } = await sendRaw(test.port, bytes);
  const closeCode = (ERRORS[code] as { close?: number }).close;
  expect(JSON.parse(texts.at(-1) ?? '')).toMatchObject({
    event: 'disconnect',
    data: { code, closeCode, reconnect: false },
  });
  expect(close).toEqual({ code: closeCode, reason: code });
}

/** Each code of the catalogue, produced over a real socket. */
const PRODUCED: Partial<Record<CatalogueCode, () => Promise<void>>> = {
  BAD_FRAME: async () => {
    const client = await connect();
    for (let i = 0; i < 10; i++) client.send('{');
    const end = await endOf(client);
    expect(end.frames.map(({ event }) => event)).toEqual([
      ...Array.from({ length: 10 }, () => 'exception'),
      'disconnect',
    ]);
    expectDisconnect(end, 'BAD_FRAME', false);
  },
  UNKNOWN_EVENT: async () => {
    for (const event of ['nope', 'constructor', '__proto__', 'toString', 'hasOwnProperty']) {
      expect(await exceptionOf({ event })).toMatchObject({ code: 'UNKNOWN_EVENT', retryable: false });
    }
  },
  VALIDATION_FAILED: async () => {
    const details = [{ path: 'email', rule: 'isEmail', message: 'email must be an email' }];
    expect(await exceptionOf({ event: 'email', data: { email: 'secret-text' } })).toEqual({
      status: 'error',
      code: 'VALIDATION_FAILED',
      message: ERRORS.VALIDATION_FAILED.message,
      retryable: false,
      details,
    });
    for (const data of [[], 'x', 1, true]) {
      expect(await exceptionOf({ event: 'email', data })).toMatchObject({ details: [{ path: '', rule: 'isObject' }] });
    }
  },
  UNAUTHENTICATED: async () => {
    const client = await Client.connect(`${test.url}/ws`);
    for (const event of ['email', 'no-such-event', 'session', 'constructor']) {
      expect(await client.ask({ event, id: 1 })).toMatchObject({ data: { code: 'UNAUTHENTICATED' }, id: 1 });
    }
    await stopApps();
    await start({ options: { auth: { sources: ['header'] } } });
    expect(await refusal(`${test.url}/ws`)).toMatchObject({ status: 401, body: { code: 'UNAUTHENTICATED' } });
  },
  TOKEN_INVALID: async () => {
    const bad = token({}, 'another-secret-of-at-least-32-bytes!');
    const atHandshake = await Client.connect(`${test.url}/ws`, { token: bad });
    expectDisconnect(await endOf(atHandshake), 'TOKEN_INVALID', false);
    const byMessage = await Client.connect(`${test.url}/ws`);
    byMessage.send({ event: 'auth', data: { token: bad }, id: 1 });
    const end = await endOf(byMessage);
    expect(end.frames[0]).toMatchObject({ event: 'exception', data: { code: 'TOKEN_INVALID' }, id: 1 });
    expectDisconnect(end, 'TOKEN_INVALID', false);
    const bare = await Client.connect(`${test.url}/ws`);
    bare.send(bad);
    const { frames } = await endOf(bare);
    expect(frames).toHaveLength(1);
  },
  TOKEN_EXPIRED: async () => {
    const expired = token({ exp: Math.floor(Date.now() / 1000) - 60 });
    expectDisconnect(await endOf(await Client.connect(`${test.url}/ws`, { token: expired })), 'TOKEN_EXPIRED', true);
    const exp = Math.floor(test.clock.now() / 1000) + 20;
    const client = await Client.connect(`${test.url}/ws`, { token: token({ exp }) });
    await client.ask({ event: 'ping' });
    test.clock.advance(20_250);
    expectDisconnect(await endOf(client), 'TOKEN_EXPIRED', true);
  },
  AUTH_TIMEOUT: async () => {
    const client = await Client.connect(`${test.url}/ws`);
    await client.ask({ event: 'ping' });
    test.clock.advance(10_250);
    expectDisconnect(await endOf(client), 'AUTH_TIMEOUT', true);
  },
  FORBIDDEN: async () => {
    expect(await exceptionOf({ event: 'admin' })).toEqual({
      status: 'error',
      code: 'FORBIDDEN',
      message: ERRORS.FORBIDDEN.message,
      retryable: false,
    });
    expect(await exceptionOf({ event: 'forbidden' })).toMatchObject({ code: 'FORBIDDEN' });
    const client = await connect();
    client.send({ event: 'auth', data: { token: token({ sub: 'eve' }) }, id: 1 });
    const end = await endOf(client);
    expect(end.frames[0]).toMatchObject({ event: 'exception', data: { code: 'FORBIDDEN' }, id: 1 });
    expectDisconnect(end, 'FORBIDDEN', false);
  },
  SESSION_REVOKED: async () => {
    const client = await connect();
    await client.ask({ event: 'ping' });
    await test.app.get(WsSessions).revoke({ subject: 'ada' });
    expectDisconnect(await endOf(client), 'SESSION_REVOKED', false);
  },
  SESSION_REPLACED: async () => {
    await stopApps();
    await start({ options: { auth: { maxSessionsPerSubject: 1 } } });
    const client = await connect();
    await connect();
    expectDisconnect(await endOf(client), 'SESSION_REPLACED', false);
  },
  SESSION_LIMIT: async () => {
    await stopApps();
    await start({ options: { auth: { maxSessionsPerSubject: 1, onSessionLimit: 'refuse-new' } } });
    await connect();
    expectDisconnect(await endOf(await connect()), 'SESSION_LIMIT', false);
  },
  OVERLOADED: async () => {
    await stopApps();
    await start({
      options: { auth: { jwt: { jwksUri: `http://127.0.0.1:${await freePort()}/`, issuer: false, audience: false } } },
    });
    const kid = signed({}, { key: keyPair('ec').privateKey, algorithm: 'ES256' });
    const end = await endOf(await Client.connect(`${test.url}/ws`, { token: kid }));
    expectDisconnect(end, 'OVERLOADED', true);
    await stopApps();
    await start({
      options: {
        auth: {
          reject: 'handshake',
          jwt: { jwksUri: `http://127.0.0.1:${await freePort()}/`, issuer: false, audience: false },
        },
      },
    });
    const { status, headers } = await refusal(`${test.url}/ws`, { headers: { authorization: `Bearer ${kid}` } });
    expect([status, headers['retry-after']]).toEqual([503, '5']);
  },
  RATE_LIMITED: async () => {
    await stopApps();
    await start({ options: { limits: { messagesPerSecond: 1, messageBurst: 2 } } });
    const client = await connect();
    for (let id = 0; id < 4; id++) client.send({ event: 'ping', id });
    expectDisconnect(await endOf(client), 'RATE_LIMITED', true);
  },
  BANNED: async () => {
    const client = await connect();
    await client.ask({ event: 'ping' });
    await test.app.get(WsFirewall).ban({ address: '127.0.0.1' }, { forMs: 60_000 });
    expectDisconnect(await endOf(client), 'BANNED', false);
    const { status, body, headers } = await refusal(`${test.url}/ws`);
    expect([status, body.code, headers['retry-after']]).toEqual([403, 'BANNED', '60']);
  },
  STALLED: async () => {
    const half = frame(0x81, 'x'.repeat(100)).subarray(0, 50);
    const stalled = sendRaw(test.port, half, [`Authorization: Bearer ${token()}`]);
    await until(() =>
      test.app
        .get(SessionRegistry)
        .find()
        .some(({ socket }) => socket.receiving > 0),
    );
    for (let i = 0; i < 2; i++) test.clock.advance(15_500);
    const { texts, close } = await stalled;
    expect(JSON.parse(texts.at(-1) ?? '')).toMatchObject({ data: { code: 'STALLED', reconnect: true } });
    expect(close).toEqual({ code: 4108, reason: 'STALLED' });
  },
  IP_FORBIDDEN: async () => {
    await test.app.get(WsFirewall).setLists({ deny: ['127.0.0.0/8'] });
    expect(await refusal(`${test.url}/ws`)).toMatchObject({ status: 403, body: { code: 'IP_FORBIDDEN' } });
  },
  TOO_MANY_CONNECTIONS: async () => {
    await stopApps();
    await start({ options: { firewall: { maxConnectionsPerAddress: 1 } } });
    await connect();
    const { status, body } = await refusal(`${test.url}/ws`);
    expect([status, body.code]).toEqual([429, 'TOO_MANY_CONNECTIONS']);
  },
  NOT_FOUND: async () => {
    expect(await exceptionOf({ event: 'not-found' })).toMatchObject({ code: 'NOT_FOUND', message: 'No such order' });
    expect(await refusal(`${test.url}/nope`)).toMatchObject({ status: 404, body: { code: 'NOT_FOUND' } });
  },
  CONFLICT: async () => {
    expect(await exceptionOf({ event: 'conflict' })).toMatchObject({ code: 'CONFLICT' });
  },
  APPLICATION_ERROR: async () => {
    expect(await exceptionOf({ event: 'stock' })).toMatchObject({
      code: 'APPLICATION_ERROR',
      message: 'The text of the application',
    });
    expect(await exceptionOf({ event: 'own' })).toMatchObject({
      code: 'ORDER_CLOSED',
      message: 'Too late',
      details: { since: 1 },
      retryAfterMs: 5,
    });
    const client = await connect();
    client.send({ event: 'close' });
    expect(await endOf(client)).toMatchObject({ code: 4400, reason: 'ORDER_CLOSED' });
  },
  HANDLER_TIMEOUT: async () => {
    const client = await connect();
    client.send({ event: 'never', id: 1 });
    await client.ask({ event: 'ping' });
    test.clock.advance(30_250);
    expect(await client.next()).toMatchObject({ data: { code: 'HANDLER_TIMEOUT', retryable: true }, id: 1 });
  },
  INTERNAL: async () => {
    for (const event of ['throw', 'reject', 'nothing', 'bigint', 'cycle']) {
      const data = (await exceptionOf({ event })) as { code: string; incidentId: string };
      expect(data.code).toBe('INTERNAL');
      expect(JSON.stringify(data)).not.toContain('hunter2');
      const line = test.log.lines.find(({ incidentId }) => incidentId === data.incidentId);
      expect(line).toMatchObject({ level: 'error', code: 'INTERNAL', event });
    }
  },
  PROTOCOL_VIOLATION: async () => {
    await expectProtocolEnd(frame(0x81, 'x', { masked: false }), 'PROTOCOL_VIOLATION');
    await expectProtocolEnd(frame(0xc1, 'x'), 'PROTOCOL_VIOLATION'); // RSV1 without an extension
    await expectProtocolEnd(frame(0x83, 'x'), 'PROTOCOL_VIOLATION'); // reserved opcode
    await expectProtocolEnd(frame(0x80, 'x'), 'PROTOCOL_VIOLATION'); // continuation of nothing
    await expectProtocolEnd(frame(0x09, 'x'), 'PROTOCOL_VIOLATION'); // fragmented ping
    await expectProtocolEnd(frame(0x88, Buffer.from([3])), 'PROTOCOL_VIOLATION'); // half a close code
  },
  UNSUPPORTED_DATA: async () => {
    await expectProtocolEnd(frame(0x82, Buffer.from([1, 2, 3])), 'UNSUPPORTED_DATA');
  },
  INVALID_UTF8: async () => {
    await expectProtocolEnd(frame(0x81, Buffer.from([0xc3, 0x28])), 'INVALID_UTF8');
  },
  MESSAGE_TOO_BIG: async () => {
    await expectProtocolEnd(Buffer.from([0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 1]), 'MESSAGE_TOO_BIG'); // 65,537 bytes announced
    const fragments = Array.from({ length: 1_025 }, (_, index) => frame(index === 0 ? 0x01 : 0x00, 'x'));
    await expectProtocolEnd(Buffer.concat(fragments), 'MESSAGE_TOO_BIG');
  },
  SLOW_CONSUMER: async () => {
    const client = await Client.connect(`${test.url}/ws`, { token: token() });
    client.socket.on('message', () => client.socket.pause());
    client.send({ event: 'flood' });
    await expect.poll(() => test.log.lines.map(({ code }) => code)).toContain('SLOW_CONSUMER');
    expect(test.log.lines.find(({ code }) => code === 'SLOW_CONSUMER')).toMatchObject({ closeCode: 4113 });
    client.socket.terminate();
  },
  NO_PONG: async () => {
    const client = await Client.connect(`${test.url}/ws`, { token: token(), autoPong: false });
    client.socket.on('ping', () => test.clock.advance(10_250));
    await client.ask({ event: 'ping' });
    test.clock.advance(25_000);
    expectDisconnect(await endOf(client), 'NO_PONG', true);
  },
  SHUTTING_DOWN: async () => {
    const client = await connect();
    await client.ask({ event: 'ping' });
    const closing = test.app.close();
    const end = await endOf(client);
    expectDisconnect(end, 'SHUTTING_DOWN', true);
    expect(end.frames.at(-1)).toMatchObject({ data: { retryAfterMs: expect.any(Number) as number } });
    await closing;
  },
  BAD_UPGRADE: async () => {
    const answers = await Promise.all([
      exchange(test.port, handshake().replace('GET', 'POST')),
      exchange(test.port, handshake().replace('Version: 13', 'Version: 8')),
      exchange(test.port, handshake().replace(/Key: .*/, 'Key: short')),
      exchange(test.port, handshake('/ws', ['Sec-WebSocket-Protocol: a,,b'])),
      exchange(test.port, 'nonsense\r\n\r\n'),
    ]);
    for (const answer of answers.map(parseAnswer)) {
      expect(answer).toMatchObject({ status: 400, body: { code: 'BAD_UPGRADE' } });
      expect(answer.head).toContain('connection: close');
    }
    expect(parseAnswer(answers[1]).head).toContain('sec-websocket-version: 13');
  },
  UPGRADE_REQUIRED: async () => {
    for (const path of ['/ws', '/ws/', '/ws?x=1']) {
      const answer = await fetchFrom(test.url, path);
      expect(answer.status).toBe(426);
      expect(answer.headers.get('upgrade')).toBe('websocket');
      expect(await answer.json()).toMatchObject({ code: 'UPGRADE_REQUIRED' });
    }
  },
  ORIGIN_FORBIDDEN: async () => {
    const refused = await refusal(`${test.url}/ws`, { origin: 'https://evil.test' });
    expect(refused).toMatchObject({ status: 403, body: { code: 'ORIGIN_FORBIDDEN' } });
    expect(refused.headers.connection).toBe('close');
    const own = await Client.connect(`${test.url}/ws`, { origin: `http://127.0.0.1:${test.port}`, token: token() });
    expect(await own.ask({ event: 'ping' })).toEqual({ event: 'pong', data: null });
  },
  BAD_GATEWAY: async () => {
    const client = await connect();
    client.send({ event: 'bad-gateway' });
    expectDisconnect(await endOf(client), 'BAD_GATEWAY', true);
  },
  UNAVAILABLE: async () => {
    expect(await exceptionOf({ event: 'unavailable' })).toEqual({
      status: 'error',
      code: 'UNAVAILABLE',
      message: ERRORS.UNAVAILABLE.message,
      retryable: true,
      retryAfterMs: 700,
    });
  },
  SUBSCRIPTION_LIMIT: async () => {
    await start({ options: { rooms: { maxPerSession: 1 } } });
    expect(await exceptionOf({ event: 'join-two' })).toMatchObject({ code: 'SUBSCRIPTION_LIMIT', retryable: false });
  },
  CLOSED: async () => {
    const client = await connect();
    client.send({ event: 'close-by-number' });
    const { frames, code } = await endOf(client);
    expect(frames.at(-1)).toMatchObject({ event: 'disconnect', data: { code: 'CLOSED', closeCode: 4500 } });
    expect(code).toBe(4500);
  },
  CONNECTION_LOST: async () => {
    const client = await connect();
    client.socket.terminate();
    await until(() => test.log.lines.length > 0);
    expect(test.log.lines).toMatchObject([{ kind: 'connection', code: 'CONNECTION_LOST', closeCode: 1006 }]);
  },
};

/** Codes that come with what enforces them. */
describe('every code of the catalogue', () => {
  it.each(Object.keys(ERRORS))('%s', async (code) => {
    const produce = PRODUCED[code as CatalogueCode];
    expect(produce).toBeDefined();
    await produce?.();
  });
});

describe('the log', () => {
  it('has exactly one line for a failed request, naming session, subject, address and event', async () => {
    const client = await connect();
    await client.ask({ event: 'email', data: { email: 'nobody@nowhere' }, id: 1 });
    expect(test.log.lines).toHaveLength(1);
    expect(test.log.lines[0]).toMatchObject({
      kind: 'request',
      code: 'VALIDATION_FAILED',
      level: 'warn',
      subject: 'ada',
      clientAddress: '127.0.0.1',
      event: 'email',
      sessionId: expect.any(String) as string,
    });
    expect(JSON.stringify(test.log.lines)).not.toContain('nobody');
  });

  it('has one line for a request whose failure ends the connection', async () => {
    const client = await Client.connect(`${test.url}/ws`);
    client.send({ event: 'auth', data: { token: 'a.b.c' } });
    await client.closed;
    expect(test.log.lines.map(({ code, closeCode }) => [code, closeCode])).toEqual([['TOKEN_INVALID', 3000]]);
  });

  it('does not name an event that only a client wrote', async () => {
    const client = await connect();
    await client.ask({ event: 'secret-event-name' });
    expect(JSON.stringify(test.log.lines)).not.toContain('secret-event-name');
  });

  it('has one line for a connection that breaks', async () => {
    const client = await connect();
    await client.ask({ event: 'ping' });
    client.socket.terminate();
    await expect.poll(() => test.log.lines).toHaveLength(1);
    expect(test.log.lines[0]).toMatchObject({ kind: 'connection', code: 'CONNECTION_LOST', closeCode: 1006 });
  });

  it('cannot be flooded, and says how much it left out', async () => {
    const client = await connect();
    await stopApps();
    await start({ options: { limits: { maxBadFrames: 1_000_000 } } });
    const flood = await connect();
    for (let i = 0; i < 1_000; i++) await flood.ask('{');
    expect(test.log.lines).toHaveLength(20); // the share of one address
    test.clock.advance(1_000);
    await flood.ask('{');
    expect(test.log.lines.at(-1)).toMatchObject({ code: 'BAD_FRAME', suppressed: 980 });
    expect(client.socket.readyState).toBe(client.socket.CLOSED);
  });
});
