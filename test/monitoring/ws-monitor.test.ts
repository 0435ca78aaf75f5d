import { Injectable, Module, Scope } from '@nestjs/common';
import { afterEach, describe, expect, it } from 'vitest';
import { OnWsEvent, WsMonitor } from '../../src/index.js';
import type { AdmittedEvent, BanEvent, WsEvent } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

afterEach(stopApps);

const ban: BanEvent = { kind: 'ban', action: 'added', target: { address: '192.0.2.1' }, enforced: true, forMs: 1_000 };

/** The warnings of the process while something runs. */
async function warningsOf(run: () => void): Promise<Error[]> {
  const warnings: Error[] = [];
  const listener = (warning: Error): void => void warnings.push(warning);
  process.on('warning', listener);
  run();
  await new Promise(setImmediate);
  await new Promise(setImmediate);
  process.off('warning', listener);
  return warnings;
}

describe('WsMonitor', () => {
  it('tells a listener of its kinds only, until it is ended', () => {
    const monitor = new WsMonitor();
    const seen: WsEvent[] = [];
    expect(monitor.has('ban')).toBe(false);
    const stop = monitor.on(['ban', 'bus', 'ban'], (event) => seen.push(event));
    const stopOther = monitor.on('ban', (event) => seen.push(event));
    expect([monitor.has('ban'), monitor.has('message')]).toEqual([true, false]);
    monitor.emit(ban);
    monitor.emit({
      kind: 'admission',
      rule: 'lists',
      code: 'IP_FORBIDDEN',
      enforced: false,
      clientAddress: '192.0.2.1',
    });
    expect(seen).toEqual([ban, ban]);
    stopOther();
    monitor.emit({ kind: 'bus', action: 'connected' });
    expect(seen).toHaveLength(3);
    stop();
    stop();
    monitor.emit(ban);
    expect(seen).toHaveLength(3);
    expect(monitor.has('ban')).toBe(false);
  });

  it('tells all who listened when the event came, also when one of them unsubscribes meanwhile', () => {
    const monitor = new WsMonitor();
    const seen: number[] = [];
    const stop = monitor.on('ban', () => {
      seen.push(1);
      stop();
    });
    monitor.on('ban', () => seen.push(2));
    monitor.emit(ban);
    monitor.emit(ban);
    expect(seen).toEqual([1, 2, 2]);
  });

  it('subscribe() tells of failures and of nothing else', () => {
    const monitor = new WsMonitor();
    const seen: string[] = [];
    monitor.subscribe(({ kind }) => seen.push(kind));
    for (const kind of ['upgrade', 'request', 'connection', 'http'] as const) {
      monitor.emit({ kind, code: 'INTERNAL', level: 'error', message: 'm' });
    }
    monitor.emit(ban);
    expect(seen).toEqual(['upgrade', 'request', 'connection', 'http']);
  });

  it('makes a warning of what a listener throws or rejects with, ever more rarely, and goes on', async () => {
    const monitor = new WsMonitor();
    let told = 0;
    monitor.on('ban', () => {
      throw new Error('thrown');
    });
    monitor.on('ban', () => Promise.reject(new Error('rejected')));
    monitor.on('ban', () => told++);
    const warnings = await warningsOf(() => {
      for (let n = 0; n < 100; n++) monitor.emit(ban);
    });
    expect(told).toBe(100);
    expect(warnings.length).toBe(2 * 7); // the 1st, 2nd, 4th … 64th of each
    expect(warnings[0]).toMatchObject({ name: 'WsGatewayWarning', message: 'A listener of WsMonitor threw at "ban"' });
    expect(warnings.at(-1)?.message).toContain('64 times');
  });
});

describe('@OnWsEvent()', () => {
  @Injectable()
  class Listener {
    readonly admitted: AdmittedEvent[] = [];
    readonly kinds: string[] = [];

    @OnWsEvent('admitted')
    onAdmitted(event: AdmittedEvent): void {
      this.admitted.push(event);
    }

    @OnWsEvent()
    onAny({ kind }: WsEvent): void {
      this.kinds.push(kind);
    }
  }

  it('calls methods of providers with what happens', async () => {
    const { app, url } = await startApp({ providers: [Listener, { provide: 'alias', useExisting: Listener }] });
    const listener = app.get(Listener);
    const client = await Client.connect(`${url}/ws`, { token: token() });
    await client.ask({ event: 'ping', id: 1 });
    await client.ask({ event: 'auth', data: { token: token() }, id: 2 });
    await client.ask({ event: 'nonsense', id: 3 });
    client.socket.close();
    await client.closed;
    expect(listener.admitted).toEqual([
      {
        kind: 'admitted',
        sessionId: expect.any(String) as string,
        clientAddress: '127.0.0.1',
        path: '/ws',
        subject: 'ada',
      },
    ]);
    expect(listener.kinds).toEqual([
      'authentication',
      'admitted',
      'message',
      'authentication',
      'authenticated',
      'message',
      'request',
      'connection',
    ]);
  });

  it('tells of messages with their duration and whether they went well', async () => {
    const { app, url } = await startApp();
    const seen: WsEvent[] = [];
    app.get(WsMonitor).on('message', (event) => seen.push(event));
    const client = await Client.connect(`${url}/ws`, { token: token() });
    const { data } = await client.ask({ event: 'session', id: 1 });
    await client.ask({ event: 'auth', data: {}, id: 2 });
    const { sessionId } = data as { sessionId: string };
    const durationMs = expect.any(Number) as number;
    const common = { kind: 'message', sessionId, clientAddress: '127.0.0.1', subject: 'ada', durationMs };
    expect(seen).toEqual([
      { ...common, event: 'session', ok: true },
      { ...common, event: 'auth', ok: false },
    ]);
  });

  it('refuses an event that there is not, and a class of request scope', async () => {
    expect(() => OnWsEvent('nonsense' as never)({}, 'method', { value: () => undefined })).toThrow('no such event');

    @Injectable({ scope: Scope.REQUEST })
    class Scoped {
      @OnWsEvent('ban') onBan(): void {
        throw new Error('never called');
      }
    }
    @Module({ providers: [Scoped] })
    class ScopedModule {}
    await expect(startApp({ imports: [ScopedModule] })).rejects.toThrow('Scoped.onBan');
  });
});
