import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { finalizeEvent, generateSecretKey, verifyEvent } from 'nostr-tools/pure';
import { AbstractRelay } from 'nostr-tools/abstract-relay';
import { concat, NEVER, of } from 'rxjs';
import type { Observable } from 'rxjs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { arrays, GatewayError, Public, Roles, UseProtocol, WsSessions } from '../../src/index.js';
import { OVER_TLS, startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { RawClient } from '../support/raw-client.js';

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
    gateways: [Relay],
    options: { auth: { anonymous: true }, limits: { maxBadFrames: 1_000 } },
  });
});
afterAll(stopApps);
beforeEach(() => {
  [stored, subscribed] = [[], 0];
  test.log.lines.length = 0;
});
afterEach(async () => {
  for (const { socket } of test.app.get(WsSessions).find()) socket.terminate();
  await until(() => test.app.get(WsSessions).count() === 0);
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
