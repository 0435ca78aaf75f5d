import { afterEach, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { isConnectionError, isException } from '../../src/client/index.js';
import type { SocketLike } from '../../src/client/index.js';
import { Random } from '../fuzz/random.js';
import { until } from '../support/app.js';
import { answering, ScriptedServer, stopAll, testClient } from './support.js';

const SEEDS = 20;
const ACTS = 1_000;

afterEach(stopAll);

it.each(Array.from({ length: SEEDS }, (_, seed) => seed))(
  'is never stuck, never doubled, and settles all: seed %i',
  async (seed) => {
    const random = new Random(seed, 0);
    const server = await ScriptedServer.start();
    const sockets: WebSocket[] = [];
    let mood: 'fair' | 'mute' | 'busy' | 'sour' = 'fair';
    const runs = new Map<number, number>();
    server.script = (frame, peer) => {
      if (mood === 'mute') return;
      if (mood === 'sour') return peer.socket.terminate();
      if (frame.event !== 'run' && frame.event !== 'count') return answering(frame, peer);
      if (mood === 'busy') {
        const data = { status: 'error', code: 'RATE_LIMITED', message: '', retryable: true, retryAfterMs: 300 };
        return peer.send({ event: 'exception', data, id: frame.id });
      }
      const n = Number(frame.data);
      runs.set(n, (runs.get(n) ?? 0) + 1);
      peer.send({ event: frame.event, data: n, id: frame.id });
      if (frame.event === 'count' && random.chance(0.5)) peer.send({ event: 'count', id: frame.id, done: true });
    };
    let failsToken = false;
    let tokens = 0;
    const test = testClient({
      url: server.url,
      random: () => random.below(1_000) / 1_000,
      auth: {
        token: async () => {
          if (failsToken) throw new Error('not now');
          await new Promise(setImmediate);
          return `t.${tokens++}.t`;
        },
      },
      createSocket: (url, protocols) => {
        const socket = new WebSocket(url, protocols);
        sockets.push(socket);
        return socket as unknown as SocketLike; // because ws has events of its own type
      },
    });
    const { client, clock } = test;
    const settled: Promise<unknown>[] = [];
    const mustRunOnce = new Set<number>();
    let asked = 0;
    const check = (error: unknown): void =>
      expect(isConnectionError(error) || isException(error) || error === 'aborted').toBe(true);
    const acts: readonly (() => void)[] = [
      () => {
        const n = ++asked;
        mustRunOnce.add(n);
        settled.push(client.request('run', n).catch(check));
      },
      () => void settled.push(client.request('run', ++asked, { idempotent: true }).catch(check)),
      () => {
        const abort = new AbortController();
        const n = ++asked;
        mustRunOnce.add(n);
        settled.push(client.request('run', n, { signal: abort.signal }).catch(check));
        abort.abort('aborted');
      },
      () => {
        const values = client.stream('count', ++asked, random.chance(0.5) ? { resume: () => asked } : {});
        settled.push(
          values
            .next()
            .catch(check)
            .then(() => values.return?.()),
        );
      },
      () => server.proxy.cut(),
      () => void (server.proxy.isSilent = !server.proxy.isSilent),
      () => void (mood = random.pick(['fair', 'mute', 'busy', 'sour', 'fair'])),
      () => void (failsToken = random.chance(0.3)),
      () => server.peers.at(-1)?.socket.close(random.pick([1000, 1001, 1011, 1012, 3008, 4101, 4129])),
      () => server.peers.at(-1)?.disconnect('TOKEN_EXPIRED', 4101, { reconnect: true }),
      () => server.peers.at(-1)?.disconnect('SHUTTING_DOWN', 1012, { reconnect: true, retryAfterMs: 500 }),
      () => server.peers.at(-1)?.disconnect('SESSION_REVOKED', 4410, { reconnect: false }),
      () => server.peers.at(-1)?.send({ event: 'auth.expiring', data: { expiresAt: clock.timeOfDay() + 5_000 } }),
      () => void client.connect().catch(check),
      () => client.close(),
      () => client.reconnect(),
      () => client.retryNow(),
      () => void client.authenticate().catch(() => undefined), // the token function is of the test
      () => test.signals[random.pick(['online', 'offline', 'visible', 'hidden', 'suspend', 'resume'] as const)](),
      ...[10, 500, 3_000, 40_000].map((ms) => () => clock.advance(ms)),
      () => clock.sleep(20_000),
    ];
    let isMeddling = true;
    client.subscribe(() => {
      if (isMeddling && random.chance(0.05))
        random.pick([() => client.close(), () => void client.connect().catch(check), () => client.reconnect()])();
    });

    for (let act = 0; act < ACTS; act++) {
      random.pick(acts)();
      if (random.chance(0.5)) await new Promise(setImmediate);
      expect(sockets.filter(({ readyState }) => readyState <= WebSocket.OPEN).length).toBeLessThanOrEqual(1);
    }

    isMeddling = false;
    [mood, failsToken, server.proxy.isSilent] = ['fair', false, false];
    for (const signal of ['online', 'visible', 'resume'] as const) test.signals[signal]();
    client.connect().catch(check);
    for (let n = 0; client.state.status !== 'open' && n < 1_000; n++) {
      clock.advance(1_000);
      for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
    }
    expect(client.state.status).toBe('open');
    expect(await client.request('run', ++asked)).toBe(asked);
    client.close();
    await Promise.all(settled);
    expect([clock.pending, test.listening(), client.state.status]).toEqual([0, 0, 'closed']);
    await until(() => sockets.every(({ readyState }) => readyState === WebSocket.CLOSED));
    expect([...mustRunOnce].filter((n) => (runs.get(n) ?? 0) > 1)).toEqual([]);
    expect(test.errors).toEqual([]);
  },
);
