import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { Observable } from 'rxjs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ByteBudget } from '../../src/session/byte-budget.js';
import { GatewayError, Public, WsFirewall } from '../../src/index.js';
import type { WsGatewayOptions } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp, TestAppOptions } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';
import { SessionRegistry } from '../../src/session/registry.js';
import type { Session } from '../../src/session/session.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void; // because it is there only with the flag

const MIB = 1_048_576;

let answers: (() => void)[] = [];
/** Lets every handler that waits come to its end. */
const answerAll = (): void => {
  for (const answer of answers.splice(0)) answer();
};

@WebSocketGateway()
class ByteGateway {
  @SubscribeMessage('wait') wait(@MessageBody() data: unknown): Promise<unknown> {
    return new Promise((resolve) => answers.push(() => resolve(data === null ? 0 : 1)));
  }
  /** Its promise is nobody's, so it is collected. */
  @SubscribeMessage('lost') lost(): Promise<never> {
    return new Promise(() => undefined);
  }
  @SubscribeMessage('fail') async fail(): Promise<never> {
    throw new GatewayError('CONFLICT');
  }
  @SubscribeMessage('stream') stream(): Observable<number> {
    return new Observable((subscriber) => subscriber.next(1));
  }
  @SubscribeMessage('few') async few(): Promise<Observable<number>> {
    return new Observable((subscriber) => {
      subscriber.next(1);
      subscriber.complete();
    });
  }
  @Public() @SubscribeMessage('sync') sync(): number {
    return 1;
  }
  @SubscribeMessage('large') large(@MessageBody() bytes: number): string {
    return 'x'.repeat(bytes);
  }
  @SubscribeMessage('large-later') async largeLater(@MessageBody() bytes: number): Promise<string> {
    await new Promise(setImmediate);
    return 'x'.repeat(bytes);
  }
}

let test: TestApp;
let sessions: SessionRegistry;
let byteBudget: ByteBudget;

// Where time is moved at once, nobody has a chance to answer a ping.
const heartbeat = { intervalMs: 3_600_000 };

async function start(limits: WsGatewayOptions['limits'], options: TestAppOptions['options'] = {}): Promise<void> {
  test = await startApp({ gateways: [ByteGateway], options: { heartbeat, ...options, limits } });
  sessions = test.app.get(SessionRegistry);
  byteBudget = test.app.get(ByteBudget, { strict: false });
}

const connect = (subject: string, localAddress = '127.0.0.1'): Promise<Client> =>
  Client.connect(`${test.url}/ws`, { token: token({ sub: subject }), localAddress });

const sessionOf = (subject: string): Session => sessions.find({ subject })[0] as Session; // because the test connected it

const codes = (client: Client): unknown[] =>
  client.frames.filter(({ event }) => event === 'exception').map(({ data }) => (data as { code: string }).code);

beforeEach(() => (answers = []));
afterEach(async () => {
  answerAll();
  await stopApps();
});

/** 60 KB that are 1.8 MB on the heap. */
const HEAVY = Array.from({ length: 20_000 }, () => ({}));
const HEAVY_COST = 1.9 * MIB;

describe('what handlers hold', () => {
  it('is counted as it is on the heap, and given back however a message ends', async () => {
    await start({ handlerTimeoutMs: 1_000 });
    const ada = await connect('ada');
    ada.send({ event: 'wait', data: HEAVY, id: 1 });
    await until(() => answers.length === 1);
    expect(byteBudget.handling).toBeGreaterThan(MIB);
    expect(byteBudget.handling).toBeLessThan(2.5 * MIB);
    answerAll();
    await ada.next();
    expect(byteBudget.handling).toBe(0);
    for (const event of ['sync', 'fail', 'few', 'nothing', 'ping']) ada.send({ event, data: [{}], id: 2 });
    ada.send('no json');
    await until(() => ada.frames.length === 8);
    expect(byteBudget.handling).toBe(0);
    ada.send({ event: 'stream', id: 3 });
    await until(() => ada.frames.length === 9);
    expect(byteBudget.handling).toBeGreaterThan(0);
    for (let i = 0; i < 40; i++) ada.send({ event: 'wait', id: 4 + i });
    await until(() => answers.length === 16);
    const closed = ada.close();
    const allAnswered = (): boolean => {
      answerAll();
      return byteBudget.handling === 0;
    };
    await until(allAnswered);
    await closed;
    const eve = await connect('eve');
    for (let i = 0; i < 40; i++) eve.send({ event: 'wait', id: i });
    await until(() => answers.length === 16);
    sessionOf('eve').close('SESSION_REVOKED');
    await eve.closed;
    await until(allAnswered);
  });

  it('is that of a handler whose time is over until it ends, or nothing can end it any more', async () => {
    await start({ handlerTimeoutMs: 1_000 });
    const ada = await connect('ada');
    ada.send({ event: 'wait', data: HEAVY, id: 1 });
    await until(() => answers.length === 1);
    test.clock.advance(1_250);
    expect(await ada.next()).toMatchObject({ data: { code: 'HANDLER_TIMEOUT' } });
    expect([sessionOf('ada').intake.handling, byteBudget.handling > MIB]).toEqual([0, true]);
    answerAll();
    await until(() => byteBudget.handling === 0);
    ada.send({ event: 'lost', data: HEAVY, id: 2 });
    await until(() => byteBudget.handling > MIB);
    test.clock.advance(1_250);
    await ada.next();
    await ada.ask({ event: 'ping', id: 3 }); // nothing of the message is on the stack
    await until(() => {
      collect();
      return byteBudget.handling === 0;
    });
  });

  it('has a bound: over it the largest holder is not read, then RATE_LIMITED, and no other session', async () => {
    await start({ maxHandlingBytesTotal: 8 * MIB });
    const attackers = await Promise.all(Array.from({ length: 20 }, (_, i) => connect(`mallory${i}`)));
    for (let round = 0; round < 4; round++) for (const attacker of attackers) attacker.send({ event: 'wait', data: HEAVY, id: round }); // prettier-ignore
    const refused = (): Client[] => attackers.filter((attacker) => codes(attacker).includes('RATE_LIMITED'));
    await until(() => refused().length > 5);
    expect(byteBudget.handling).toBeLessThan(8 * MIB * 1.25 + HEAVY_COST * 2);
    const ada = await connect('ada', '127.0.0.2');
    ada.send({ event: 'wait', data: [1], id: 1 });
    const waiting = answers.length;
    await until(() => answers.length === waiting + 1);
    // Who was refused is not read before it is to come again; then what is answered at once is answered.
    const isIdle = (attacker: Client): boolean =>
      sessionOf(`mallory${attackers.indexOf(attacker)}`).intake.inFlight === 0;
    const idle = refused().find(isIdle) as Client; // because an address has a quarter more than its bound at most
    idle.send({ event: 'sync', id: 'sync' });
    await ada.ask({ event: 'ping', id: 2 });
    expect(idle.frames.some(({ id }) => id === 'sync')).toBe(false);
    await until(() => {
      test.clock.jump(1_000);
      byteBudget.sweep();
      return idle.frames.some(({ id }) => id === 'sync');
    });
    expect(test.app.get(WsFirewall).bans()).toEqual([]);
    expect(test.log.lines.find(({ code }) => code === 'RATE_LIMITED')?.reason).toContain('maxHandlingBytesTotal');
    answerAll();
    expect(await ada.next()).toMatchObject({ data: 1, id: 1 });
  });

  it('at its bound tells an anonymous session nothing of which events there are', async () => {
    await start({ maxHandlingBytesTotal: 4 * MIB }, { auth: { anonymous: true } });
    const attackers = await Promise.all(Array.from({ length: 3 }, (_, i) => connect(`mallory${i}`)));
    for (const attacker of attackers) attacker.send({ event: 'wait', data: HEAVY, id: 1 });
    await until(() => byteBudget.handling > 5 * MIB);
    const ada = await connect('ada');
    expect(await ada.ask({ event: 'wait', id: 1 })).toMatchObject({ data: { code: 'RATE_LIMITED' } });
    const stranger = await Client.connect(`${test.url}/ws`);
    const known = await stranger.ask({ event: 'wait', id: 1 });
    expect(known).toMatchObject({ data: { code: 'UNAUTHENTICATED' } });
    expect(await stranger.ask({ event: 'not-there', id: 1 })).toEqual(known);
  });

  it('beyond it is taken from those with most, and the others are served', async () => {
    await start({ maxHandlingBytesTotal: 4 * MIB });
    const attackers = await Promise.all(Array.from({ length: 6 }, (_, i) => connect(`mallory${i}`)));
    for (const attacker of attackers) attacker.send({ event: 'wait', data: HEAVY, id: 1 });
    await until(() => byteBudget.handling > 5 * MIB);
    const ada = await connect('ada');
    test.clock.advance(250);
    await until(() => sessions.count() < 7);
    const ended = test.log.lines.filter(({ code }) => code === 'OVERLOADED');
    expect(ended.every(({ subject }) => subject?.startsWith('mallory'))).toBe(true);
    expect(await ada.ask({ event: 'sync', id: 1 })).toMatchObject({ data: 1 });
    const left = sessions.count();
    for (let i = 0; i < 8; i++) test.clock.advance(250);
    expect(sessions.count()).toBe(left); // their handlers run on, and to end anybody else would not change that
  });

  it('lets a session be read again when there is room, with nothing of its own to wake it', async () => {
    await start({ maxHandlingBytesTotal: 4 * MIB });
    const [eve, mallory] = [await connect('eve'), await connect('mallory')];
    eve.send({ event: 'wait', data: [1], id: 1 });
    await until(() => answers.length === 1);
    const [answerEve] = answers.splice(0);
    for (let i = 0; i < 2; i++) mallory.send({ event: 'wait', data: HEAVY, id: i });
    await until(() => answers.length === 2);
    eve.send({ event: 'sync', id: 2 });
    await until(() => sessionOf('eve').socket.isPaused);
    answerAll();
    await mallory.next();
    await mallory.next();
    expect(eve.frames).toEqual([]);
    test.clock.advance(250);
    expect(await eve.next()).toMatchObject({ id: 2 });
    answerEve?.();
    expect(await eve.next()).toMatchObject({ id: 1 });
  });
});

describe('a heap that stays full', () => {
  it('ends the sessions that hold most, authenticated ones too, one round for each collection', async () => {
    await start({}, { overload: { maxHeapPercent: 1 } }); // it is looked at first when the clock moves
    const ada = await connect('ada');
    const others = await Promise.all(Array.from({ length: 20 }, (_, i) => connect(`s${i}`)));
    ada.send({ event: 'wait', data: HEAVY, id: 1 });
    await until(() => answers.length === 1);
    const ballast = Array.from({ length: 5_000_000 }, (_, i) => ({ i }));
    for (let i = 0; i < 10; i++) test.clock.advance(1_000);
    expect(sessions.count()).toBe(21); // what is full may be garbage
    const round = async (): Promise<void> => {
      await new Promise(setImmediate);
      collect();
      test.clock.advance(1_000);
    };
    await round();
    expect(ballast).toHaveLength(5_000_000);
    expect(sessions.count()).toBe(11);
    expect(sessions.count({ subject: 'ada' })).toBe(0);
    expect(sessions.count({ subject: 's0' })).toBe(1); // of those that hold as little, the newest
    expect((await others[19]?.closed)?.code).toBeTypeOf('number');
  });
});

describe('a peer that reads', () => {
  it('gets a reply of any size, one after the other, and is never a SLOW_CONSUMER', async () => {
    await start({ maxOutboundBytes: 100_000 });
    const ada = await connect('ada');
    for (const event of ['large', 'large-later']) {
      for (let id = 0; id < 12; id++) ada.send({ event, data: 3_000_000, id });
      let most = 0;
      const seen = ada.frames.length;
      await until(() => {
        most = Math.max(most, sessionOf('ada').socket.bufferedAmount);
        if (ada.frames.length === seen) test.clock.advance(0);
        return ada.frames.length === seen + 12;
      });
      expect(most).toBeLessThan(100_000 + 3_000_100);
    }
    ada.send({ event: 'ping', id: 'last' });
    await until(() => ada.frames.at(-1)?.event === 'pong');
    expect(byteBudget.handling).toBe(0);
    expect(test.log.lines).toEqual([]);
  });

  it('may be pushed as much as its bound beside that reply, and not more', async () => {
    await start({ maxOutboundBytes: 100_000 });
    const ada = await connect('ada');
    ada.socket.pause();
    ada.send({ event: 'large', data: 8_000_000, id: 1 });
    await until(() => sessionOf('ada').socket.isBehind);
    const session = sessionOf('ada');
    for (let i = 0; i < 9; i++) session.send('push', 'x'.repeat(10_000));
    await new Promise(setImmediate);
    expect(session.isLive).toBe(true);
    ada.socket.resume();
    await until(() => ada.frames.length === 10);
    ada.socket.pause();
    ada.send({ event: 'large', data: 8_000_000, id: 2 });
    await until(() => session.socket.isBehind);
    for (let i = 0; i < 11; i++) session.send('push', 'x'.repeat(10_000));
    await new Promise(setImmediate);
    expect(session.isLive).toBe(false);
    expect(test.log.lines.map(({ code }) => code)).toEqual(['SLOW_CONSUMER']);
  });
});

describe('a peer that does not read', () => {
  /** Reads nothing of one large reply, but for what `meanwhile` reads. */
  async function endsAfter(ms: number, meanwhile: (client: Client) => void = () => undefined): Promise<void> {
    const ada = await connect('ada');
    ada.socket.pause();
    for (let id = 0; id < 10; id++) ada.send({ event: 'large', data: 16 * MIB, id });
    await until(() => sessionOf('ada').socket.isBehind);
    const session = sessionOf('ada');
    for (let passed = 0; passed < ms - 1_000; passed += 250) {
      meanwhile(ada);
      await new Promise(setImmediate);
      test.clock.advance(250);
      expect([session.isLive, session.socket.bufferedAmount < 17 * MIB]).toEqual([true, true]);
    }
    test.clock.advance(1_500);
    expect(session.isLive).toBe(false);
    expect(test.log.lines.map(({ code }) => code)).toEqual(['SLOW_CONSUMER']);
    ada.socket.terminate();
  }

  it('has ten seconds and one for each 64 KiB, and then no more', async () => {
    await start({});
    await endsAfter(10_000 + 16 * 16_000);
  });

  it('gains nothing by reading a byte now and then', async () => {
    await start({});
    await endsAfter(10_000 + 16 * 16_000, ({ socket }) => {
      const { _socket: stream } = socket as unknown as { _socket: { read(size: number): unknown } }; // because ws does not show it
      stream.read(1);
    });
  });

  it('and is one of many is held to the bound of all, between two sweeps as well', async () => {
    await start({ maxOutboundBytesTotal: 40 * MIB });
    const reader = await connect('reader');
    const waiting = (): number => sessions.find().reduce((sum, { socket }) => sum + socket.bufferedAmount, 0);
    for (let i = 0; i < 12; i++) {
      const sloth = await connect(`sloth${i}`);
      sloth.socket.pause();
      sloth.send({ event: 'large', data: 16 * MIB, id: 1 });
      await until(() => sessions.count({ subject: `sloth${i}` }) === 0 || sessionOf(`sloth${i}`).socket.isBehind);
      expect(waiting()).toBeLessThan(40 * MIB);
    }
    expect(await reader.ask({ event: 'large', data: 2 * MIB, id: 1 })).toMatchObject({ id: 1 });
    expect(test.log.lines.every(({ subject }) => subject?.startsWith('sloth'))).toBe(true);
  });
});

describe('what all are sent', () => {
  it('counts once, and not once for each that has yet to read it', async () => {
    await start({ maxOutboundBytes: 32 * MIB, maxOutboundBytesTotal: 24 * MIB });
    const clients = await Promise.all(Array.from({ length: 8 }, (_, i) => connect(`s${i}`)));
    for (const { socket } of clients) socket.pause();
    const text = 'x'.repeat(16 * MIB);
    expect(sessions.broadcast('news', text)).toBe(8);
    await until(() => byteBudget.shared > 0); // at the end of the tick
    const waiting = sessions.find().reduce((sum, { socket }) => sum + socket.bufferedAmount, 0);
    expect(waiting).toBeGreaterThan(64 * MIB);
    expect(byteBudget.shared - text.length).toBe('{"event":"news","data":""}'.length + 10);
    test.clock.advance(500);
    expect(sessions.count()).toBe(8);
    for (const { socket } of clients.slice(1)) socket.resume();
    for (const client of clients.slice(1)) await client.next();
    test.clock.advance(250);
    expect(byteBudget.shared).toBeGreaterThan(16 * MIB); // one of them has not read it
    clients[0]?.socket.terminate();
    await until(() => byteBudget.shared === 0);
  });

  it('goes before what is sent to one only, where all together is too much', async () => {
    await start({ maxOutboundBytes: 32 * MIB, maxOutboundBytesTotal: 24 * MIB });
    const clients = await Promise.all(Array.from({ length: 3 }, (_, i) => connect(`s${i}`)));
    for (const { socket } of clients) socket.pause();
    sessions.broadcast('news', 'x'.repeat(12 * MIB));
    clients[1]?.send({ event: 'large', data: 16 * MIB, id: 1 });
    await until(() => sessionOf('s1').socket.ownOutbound > 15 * MIB);
    test.clock.advance(250);
    expect(test.log.lines.map(({ code, subject }) => [code, subject])).toEqual([['SLOW_CONSUMER', 's1']]);
  });
});
