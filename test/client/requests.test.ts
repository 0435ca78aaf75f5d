import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isConnectionError, isException } from '../../src/client/index.js';
import { until } from '../support/app.js';
import { answering, failureOf, is, isOpen, ScriptedServer, stopAll, testClient } from './support.js';
import type { TestClient } from './support.js';

let server: ScriptedServer;
let test: TestClient;
beforeEach(async () => {
  server = await ScriptedServer.start();
  test = testClient({ url: server.url });
});
afterEach(stopAll);

const exception = (code: string, more: object = {}): object => ({
  event: 'exception',
  data: { status: 'error', code, message: 'no', retryable: false, ...more },
});

describe('a request', () => {
  it('connects lazily and gets its reply by its id, also under another event', async () => {
    server.script = (frame, peer) => {
      if (frame.event === 'order') peer.send({ event: 'ordered', data: frame.data, id: frame.id });
      else answering(frame, peer);
    };
    expect(test.client.state.status).toBe('idle');
    expect(await test.client.request('order', { article: 'tea' })).toEqual({ article: 'tea' });
  });

  it('fails with what the server answered, told apart by brand', async () => {
    server.script = (frame, peer) => {
      if (frame.event !== 'order') return answering(frame, peer);
      peer.send({ ...exception('ORDER_CLOSED', { details: { since: 1 }, retryAfterMs: 5 }), id: frame.id });
    };
    const error = await failureOf(test.client.request('order'));
    expect(error).toMatchObject({ code: 'ORDER_CLOSED', details: { since: 1 }, retryable: false, retryAfterMs: 5 });
    expect([isException(error, 'ORDER_CLOSED'), isException(error, 'OTHER'), isConnectionError(error)]).toEqual([
      true,
      false,
      false,
    ]);
  });

  it('has one deadline for waiting and answer, and says whether it may have run', async () => {
    server.script = () => undefined;
    const waiting = failureOf(test.client.request('echo', 1, { timeoutMs: 500 }));
    test.clock.advance(500);
    expect(await waiting).toMatchObject({ code: 'TIMEOUT', maybeExecuted: false });
    server.script = answering;
    test.client.close();
    await test.client.connect();
    const sent = failureOf(test.client.request('never', 1, { timeoutMs: 500 }));
    test.clock.advance(500);
    expect(await sent).toMatchObject({ code: 'TIMEOUT', maybeExecuted: true });
  });

  it('is refused at once when too many wait, by count and by size', async () => {
    const small = testClient({ url: server.url, queue: { maxRequests: 2, maxBytes: 50 } });
    const first = [small.client.request('echo', 1), small.client.request('echo', 2)];
    expect(await failureOf(small.client.request('echo', 3))).toMatchObject({
      code: 'QUEUE_FULL',
      maybeExecuted: false,
    });
    expect(await Promise.all(first)).toEqual([1, 2]);
    small.client.reconnect();
    expect(await failureOf(small.client.request('echo', 'x'.repeat(60)))).toMatchObject({ code: 'QUEUE_FULL' });
  });

  it('waits where maxInFlight are unanswered', async () => {
    server.script = (frame, peer) => void (frame.event === 'hold' || answering(frame, peer));
    const few = testClient({ url: server.url, queue: { maxInFlight: 2 } });
    await few.client.connect();
    const held = Promise.allSettled([1, 2].map((data) => few.client.request('hold', data, { timeoutMs: 500 })));
    const third = few.client.request('echo', 3);
    await until(() => server.received('hold').length === 2);
    few.clock.advance(500);
    expect(await third).toBe(3);
    expect((await held).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  });

  it('is lost with its connection, and may have run', async () => {
    await test.client.connect();
    const lost = failureOf(test.client.request('never'));
    await until(() => server.received('never').length === 1);
    server.proxy.cut();
    expect(await lost).toMatchObject({ code: 'CONNECTION_LOST', maybeExecuted: true, disconnect: { reconnect: true } });
  });

  it('is asked again with another id when a second run does no harm, and no other is', async () => {
    await test.client.connect();
    let answers = 0;
    server.script = (frame, peer) => {
      if (frame.event === 'echo' && answers++ === 0) return server.proxy.cut();
      answering(frame, peer);
    };
    const reply = test.client.request('echo', 7, { idempotent: true });
    await is(test.client, 'waiting');
    test.clock.advance(1_000);
    expect(await reply).toBe(7);
    expect(new Set(server.received('echo').map(({ id }) => id)).size).toBe(2);
  });

  it('holds while a budget is spent, sends what was refused first, and gives up where that is too late', async () => {
    let refused = 0;
    server.script = (frame, peer) => {
      if (frame.event === 'echo' && refused++ < 2) {
        return peer.send({ ...exception('RATE_LIMITED', { retryable: true, retryAfterMs: 400 }), id: frame.id });
      }
      answering(frame, peer);
    };
    await test.client.connect();
    const replies = Promise.all([test.client.request('echo', 1), test.client.request('echo', 2)]);
    await until(() => refused === 2);
    await test.client.request('ping').catch(() => undefined);
    const third = test.client.request('echo', 3);
    expect(server.received('echo')).toHaveLength(2);
    test.clock.advance(400);
    await until(() => server.received('echo').length === 3);
    test.clock.advance(399);
    test.client.send('mark');
    await until(() => server.received('mark').length === 1);
    expect(server.received('echo').map(({ data }) => data)).toEqual([1, 2, 1]);
    test.clock.advance(1);
    expect(await replies).toEqual([1, 2]);
    test.clock.advance(400);
    expect(await third).toBe(3);
    test.clock.advance(10_000);
    refused = 0;
    expect(await failureOf(test.client.request('echo', 4, { timeoutMs: 300 }))).toMatchObject({ code: 'RATE_LIMITED' });
  });

  it('is not lost where meta() or onFrame() ends it, and holds no place in flight', async () => {
    const abort = new AbortController();
    let isClosing = false;
    const meddled = testClient({
      url: server.url,
      queue: { maxInFlight: 1 },
      meta: () => void (isClosing && meddled.client.close()),
      onFrame: (direction, { event }) =>
        void (direction === 'out' && event === 'never' && abort.abort(new Error('enough'))),
    });
    expect((await failureOf(meddled.client.request('never', 1, { signal: abort.signal }))).message).toBe('enough');
    expect(await meddled.client.request('echo', 1)).toBe(1);
    isClosing = true;
    const asked = meddled.client.request('echo', 2);
    expect(meddled.client.state.status).toBe('closed');
    isClosing = false;
    expect([await meddled.client.connect(), await asked]).toEqual([undefined, 2]);
    expect(await meddled.client.request('echo', 3)).toBe(3);
  });

  it('is given up by its signal, with the reason of that', async () => {
    await test.client.connect();
    const abort = new AbortController();
    const given = failureOf(test.client.request('never', 1, { signal: abort.signal }));
    abort.abort(new Error('the user went away'));
    expect((await given).message).toBe('the user went away');
    expect((await failureOf(test.client.request('echo', 1, { signal: abort.signal }))).message).toBe(
      'the user went away',
    );
  });

  it('fails at once with data that is no JSON', async () => {
    expect(await failureOf(test.client.request('echo', 1n))).toBeInstanceOf(TypeError);
  });

  it('takes no answer twice, and none of an id that it does not know', async () => {
    server.script = (frame, peer) => {
      answering(frame, peer);
      answering(frame, peer);
      if (frame.event === 'echo') peer.send({ event: 'echo', data: 'late', id: 99_999 });
    };
    const pushes: unknown[] = [];
    test.client.on('echo', (data) => pushes.push(data));
    expect(await test.client.request('echo', 1)).toBe(1);
    expect(await test.client.request('echo', 2)).toBe(2);
    expect(pushes).toEqual([]);
  });

  it('carries the application’s meta, and shows its frames without a token', async () => {
    const frames: string[] = [];
    const shown = testClient({
      url: server.url,
      auth: { token: () => 'a.b.c' },
      meta: () => ({ traceparent: '00-1' }),
      onFrame: (direction, frame) => frames.push(`${direction} ${JSON.stringify(frame)}`),
    });
    await shown.client.request('echo', { a: 1 });
    expect(server.received('echo')[0]?.meta).toEqual({ traceparent: '00-1' });
    expect(server.received('auth')[0]?.data).toEqual({ token: 'a.b.c' });
    expect(frames.join('\n')).not.toContain('a.b.c');
    expect(frames).toContain('out {"event":"echo","id":2,"meta":{"traceparent":"00-1"},"data":{"a":1}}');
  });
});

describe('send()', () => {
  it('is never queued', async () => {
    expect(test.client.send('cursor', 1)).toBe(false);
    await test.client.connect();
    expect(test.client.send('cursor', 2)).toBe(true);
    await until(() => server.received('cursor').length > 0);
    expect(server.received('cursor')).toEqual([{ event: 'cursor', data: 2 }]);
  });
});

describe('a push', () => {
  it('reaches its listeners over all connections, once, and no listener’s error ends another', async () => {
    const seen: unknown[] = [];
    test.client.on('news', () => {
      throw new Error('of the application');
    });
    const off = test.client.on('news', (data) => seen.push(data));
    await test.client.connect();
    server.peer.send({ event: 'news', data: 1 });
    await until(() => seen.length === 1);
    server.proxy.cut();
    await is(test.client, 'waiting');
    test.clock.advance(1_000);
    await isOpen(test.client);
    server.peer.send({ event: 'news', data: 2 });
    await until(() => seen.length === 2);
    off();
    server.peer.send({ event: 'news', data: 3 });
    await test.client.request('echo');
    expect(seen).toEqual([1, 2]);
    expect(test.errors).toHaveLength(3);
  });
});

describe('a stream', () => {
  const numbers =
    (count: number): ScriptedServer['script'] =>
    (frame, peer) => {
      if (frame.event !== 'numbers') return answering(frame, peer);
      for (let n = 0; n < count; n++) peer.send({ event: 'numbers', data: n, id: frame.id });
      peer.send({ event: 'numbers', id: frame.id, done: true });
    };
  const read = async (values: AsyncIterable<unknown>, most = Infinity): Promise<unknown[]> => {
    const seen: unknown[] = [];
    for await (const value of values) if (seen.push(value) >= most) break;
    return seen;
  };

  it('yields its values and ends', async () => {
    server.script = numbers(5);
    expect(await read(test.client.stream('numbers'))).toEqual([0, 1, 2, 3, 4]);
  });

  it('is cancelled by leaving it, and by its signal', async () => {
    server.script = (frame, peer) => {
      if (frame.event === 'numbers') peer.send({ event: 'numbers', data: 0, id: frame.id });
      else answering(frame, peer);
    };
    expect(await read(test.client.stream('numbers'), 1)).toEqual([0]);
    await until(() => server.received('cancel').length === 1);
    expect(server.received('cancel')[0]?.data).toEqual({ id: server.received('numbers')[0]?.id });
    const abort = new AbortController();
    const values = test.client.stream('numbers', undefined, { signal: abort.signal });
    await values.next();
    abort.abort(new Error('enough'));
    expect((await failureOf(values.next())).message).toBe('enough');
    expect((await values.next()).done).toBe(true);
    await until(() => server.received('cancel').length === 2);
  });

  it('is not asked for before it is read', async () => {
    test.client.stream('numbers');
    await test.client.request('echo');
    expect(server.received('numbers')).toEqual([]);
  });

  it('ends when it is read too slowly, and is cancelled', async () => {
    server.script = numbers(1_002);
    const values = test.client.stream('numbers');
    const first = values.next();
    await until(() => server.received('cancel').length === 1);
    expect((await first).value).toBe(0);
    const seen = [];
    const error = await failureOf(
      (async () => {
        for await (const value of values) seen.push(value);
      })(),
    );
    expect(error).toMatchObject({ code: 'TOO_SLOW' });
    expect(seen.length).toBeGreaterThanOrEqual(1_000);
  });

  it('throws when its connection is lost, and goes on from its last value where it can', async () => {
    server.script = (frame, peer) => {
      if (frame.event !== 'numbers') return answering(frame, peer);
      const from = (frame.data as { from: number }).from;
      peer.send({ event: 'numbers', data: from, id: frame.id });
      if (from > 0) peer.send({ event: 'numbers', id: frame.id, done: true });
    };
    const plain = test.client.stream('numbers', { from: 0 });
    const resumed = test.client.stream('numbers', { from: 0 }, { resume: (last) => ({ from: (last as number) + 1 }) });
    expect([(await plain.next()).value, (await resumed.next()).value]).toEqual([0, 0]);
    const [lost, rest] = [failureOf(plain.next()), read(resumed)];
    server.proxy.cut();
    expect(await lost).toMatchObject({ code: 'CONNECTION_LOST' });
    await is(test.client, 'waiting');
    test.clock.advance(1_000);
    expect(await rest).toEqual([1]);
  });
});
