import { afterEach, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { isConnectionError, isException } from '../../src/client/index.js';
import type { Channel, Position, SocketLike } from '../../src/client/index.js';
import { Random } from '../fuzz/random.js';
import { until } from '../support/app.js';
import { answering, ScriptedServer, stopAll, testClient } from './support.js';
import type { Peer } from './support.js';

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
    const history = new History(random);
    server.script = (frame, peer) => {
      if (mood === 'mute') return;
      if (mood === 'sour') return peer.socket.terminate();
      if (frame.event === 'unsubscribe') return history.leave(peer);
      if (!['run', 'count', 'subscribe'].includes(frame.event)) return answering(frame, peer);
      if (mood === 'busy') {
        const data = { status: 'error', code: 'RATE_LIMITED', message: '', retryable: true, retryAfterMs: 300 };
        return peer.send({ event: 'exception', data, id: frame.id });
      }
      if (frame.event === 'subscribe') return history.subscribe(frame, peer);
      const n = Number(frame.data);
      if (frame.event === 'run') runs.set(n, (runs.get(n) ?? 0) + 1);
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
    const room = client.channel('room');
    const witness = new Witness(room);
    const settled: Promise<unknown>[] = [];
    const mustRunOnce = new Set<number>();
    let asked = 0;
    const check = (error: unknown): void =>
      expect(isConnectionError(error) || isException(error) || error === 'aborted').toBe(true);
    const turns = async (count: number): Promise<void> => {
      for (let turn = 0; turn < count; turn++) await new Promise(setImmediate);
    };
    /** All is well for a while: else it would hardly ever be open. */
    const calm = async (most: number): Promise<void> => {
      [mood, failsToken, server.proxy.isSilent] = ['fair', false, false];
      for (const signal of ['online', 'visible', 'resume'] as const) test.signals[signal]();
      client.connect().catch(check);
      for (let n = 0; client.state.status !== 'open' && n < most; n++) {
        clock.advance(500);
        await turns(5);
      }
      await turns(10);
    };
    const acts: readonly (() => unknown)[] = [
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
      ...Array.from({ length: 4 }, () => () => history.publish()),
      () => history.publish(12),
      () => history.restart(),
      () => history.tellGap(),
      () => witness.turn(),
      () => {
        const next = room[Symbol.asyncIterator]();
        settled.push(next.next().catch(check));
        void next.return?.();
      },
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
      if (random.chance(0.08)) await calm(60);
      if (random.chance(0.5)) await new Promise(setImmediate);
      expect(sockets.filter(({ readyState }) => readyState <= WebSocket.OPEN).length).toBeLessThanOrEqual(1);
    }

    isMeddling = false;
    witness.listen();
    let isAnswered = false;
    for (let n = 0; !isAnswered || history.members === 0 || witness.last?.offset !== history.top; n++) {
      await calm(1_000);
      void client.request('run', ++asked).then(() => (isAnswered = true), check);
      if (history.members > 0 && n % 10 === 0) history.publish(); // one that has time to arrive
      clock.advance(500);
      await turns(20);
    }
    client.close();
    await Promise.all(settled);
    expect([clock.pending, test.listening(), client.state.status]).toEqual([0, 0, 'closed']);
    await until(() => sockets.every(({ readyState }) => readyState === WebSocket.CLOSED));
    expect([...mustRunOnce].filter((n) => (runs.get(n) ?? 0) > 1)).toEqual([]);
    expect([test.errors, witness.faults]).toEqual([[], []]);
  },
);

/** A channel with a history, as the server keeps it. */
class History {
  readonly #members = new Set<Peer>();
  #epoch = 0;
  top = 0;

  constructor(private readonly random: Random) {}

  get members(): number {
    return [...this.#members].filter(({ socket }) => socket.readyState === WebSocket.OPEN).length;
  }

  #push(frame: object): void {
    for (const peer of this.#members) peer.send({ ...frame, channel: 'room' });
  }

  publish(count = 1): void {
    for (let n = 0; n < count; n++) this.#push({ event: 'chat', data: ++this.top, offset: this.top });
  }

  /** The history is another: those who are there are told. */
  restart(): void {
    this.#epoch++;
    this.top = this.random.below(3);
    this.tellGap();
  }

  tellGap(): void {
    const data = { epoch: `e${this.#epoch}`, offset: this.top, reason: 'epoch', reloadAfterMs: 0 };
    this.#push({ event: 'gap', data });
  }

  leave(peer: Peer): void {
    this.#members.delete(peer);
  }

  subscribe({ data, id }: { data?: unknown; id?: number }, peer: Peer): void {
    const [{ since } = { since: undefined }] = (data as { channels: { since?: Position }[] }).channels;
    const missed = since === undefined ? 0 : this.top - since.offset;
    const recovered = since?.epoch === `e${this.#epoch}` && missed <= 10;
    const replayed = recovered ? missed : 0;
    const came = since === undefined ? {} : { recovered, ...(recovered ? { replayed } : { reason: 'window' }) };
    const answer = { channel: 'room', epoch: `e${this.#epoch}`, offset: this.top, ...came };
    peer.send({ event: 'subscribe', data: { channels: [answer] }, id });
    for (let offset = this.top - replayed + 1; offset <= this.top; offset++) {
      peer.send({ event: 'chat', data: offset, channel: 'room', offset });
    }
    this.#members.add(peer);
  }
}

/** A listener that comes and goes: what it gets has no hole and nothing twice, unless it was told. */
class Witness {
  readonly faults: unknown[] = [];
  last: Position | undefined;
  #ends: (() => void)[] = [];

  constructor(private readonly room: Channel) {}

  listen(): void {
    if (this.#ends.length > 0) return;
    this.#ends = [
      this.room.on('gap', () => void (this.last = this.room.position)),
      this.room.on('chat', () => {
        const { epoch, offset } = this.room.position ?? { epoch: '', offset: NaN };
        if (this.last !== undefined && (epoch !== this.last.epoch || offset !== this.last.offset + 1))
          this.faults.push([this.last, { epoch, offset }]);
        this.last = { epoch, offset };
      }),
    ];
  }

  turn(): void {
    if (this.#ends.length === 0) return this.listen();
    for (const end of this.#ends.splice(0)) end();
  }
}
