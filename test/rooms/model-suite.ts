import * as fc from 'fast-check';
import { afterEach, expect, it } from 'vitest';
import { WsRooms } from '../../src/index.js';
import { Memberships } from '../../src/rooms/memberships.js';
import { stopApps, until } from '../support/app.js';
import { Client } from '../support/client.js';
import { HISTORY, startChannels } from '../support/channels.js';
import type { AppEngine } from '../support/engines.js';
import type { Push } from '../support/channels.js';
import { token } from '../support/tokens.js';

const PEERS = 3;
const peer = fc.nat(PEERS - 1);
const ACTS = fc.oneof(
  { weight: 3, arbitrary: fc.record({ act: fc.constant('subscribe' as const), peer }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('unsubscribe' as const), peer }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('break' as const), peer }) },
  { weight: 4, arbitrary: fc.record({ act: fc.constant('publish' as const), peer, echo: fc.boolean() }) },
  {
    weight: 2,
    arbitrary: fc.record({ act: fc.constant('burst' as const), peer, count: fc.integer({ min: 1, max: 4 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ act: fc.constant('pass' as const), peer, ms: fc.integer({ min: 1, max: 40_000 }) }),
  },
);

/** What a subscriber should have, by the simplest means. */
class Model {
  top = 0;
  readonly published: { offset: number; at: number }[] = [];
  readonly members = new Set<number>();
  readonly seen: number[] = Array<number>(PEERS).fill(-1);
  readonly expected: number[][] = Array.from({ length: PEERS }, () => []);

  publish(at: number, except?: number): void {
    this.published.push({ offset: ++this.top, at });
    for (const member of this.members) if (member !== except) this.expected[member]?.push(this.top);
    // What is not echoed is the sender's own: it knows the position from the answer.
    for (const member of this.members) this.seen[member] = this.top;
  }

  /** The answer to a subscribe with the last position that the peer has. */
  subscribe(one: number, now: number): object {
    const since = this.seen[one] as number; // because there are as many as peers
    this.members.add(one);
    this.seen[one] = this.top;
    if (since === -1) return { offset: this.top };
    const kept = this.published.slice(-HISTORY.count).filter(({ at }) => now - at < HISTORY.ageMs);
    const missed = kept.filter(({ offset }) => offset > since).map(({ offset }) => offset);
    if (missed.length < this.top - since) return { offset: this.top, recovered: false, reason: 'window' };
    this.expected[one]?.push(...missed);
    return { offset: this.top, recovered: true, replayed: missed.length };
  }
}

/** Random histories of subscribers, over an engine. */
export function testModel(name: string, engine: AppEngine): void {
  afterEach(async () => {
    await stopApps();
    await engine.stop?.();
  });

  it(`over the ${name} engine subscribers get what a model says, through breaks, bursts, and the passing of time`, async () => {
    const { app, clock, url } = await startChannels({}, {}, { engine });
    const rooms = app.get(WsRooms);
    const table = app.get(Memberships);
    const connect = (): Promise<Client> => Client.connect(`${url}/ws`, { token: token() });
    const clients = await Promise.all(Array.from({ length: PEERS }, connect));
    let id = 0;
    const ask = async (client: Client, event: string, data: object): Promise<Record<string, unknown>> => {
      client.send({ event, data, id: ++id });
      const own = id;
      const answer = (): Push | undefined => client.frames.findLast((frame) => frame.id === own);
      await until(() => answer() !== undefined);
      return answer()?.data as Record<string, unknown>;
    };
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(ACTS, { minLength: 5, maxLength: 40 }), async (acts) => {
        const channel = `room.${run++}`;
        const model = new Model();
        const received: number[][] = Array.from({ length: PEERS }, () => []);
        let epoch: unknown;
        let now = 0;
        /** What was answered, and what the model says. */
        const answers: [unknown, unknown][] = [];
        const take = (one: number): void => {
          const pushes = clients[one]?.frames.filter((frame: Push) => frame.channel === channel) as Push[];
          received[one]?.push(...pushes.map(({ offset }) => offset ?? 0));
        };
        for (const one of acts) {
          const client = clients[one.peer] as Client; // because it is one of them
          if (one.act === 'subscribe') {
            const offset = model.seen[one.peer] as number; // because there are as many as peers
            const since = offset === -1 ? undefined : { epoch, offset };
            const answer = await ask(client, 'subscribe', { channel, ...(since !== undefined && { since }) });
            epoch ??= answer.epoch;
            answers.push([answer, { channel, epoch, ...model.subscribe(one.peer, now) }]);
          } else if (one.act === 'unsubscribe') {
            await engine.settle?.();
            await ask(client, 'unsubscribe', { channel });
            model.members.delete(one.peer);
          } else if (one.act === 'break') {
            await engine.settle?.();
            const before = table.size.memberships;
            const wasMember = model.members.delete(one.peer);
            // What it has been sent it may have or not: it comes back with what it has seen, so that is read first.
            await ask(client, 'session', {});
            take(one.peer);
            client.socket.terminate();
            await until(() => table.size.memberships === before - (wasMember ? 1 : 0));
            clients[one.peer] = await connect();
          } else if (one.act === 'publish') {
            const answer = await ask(client, 'publish', { channel, echo: one.echo });
            epoch ??= answer.epoch;
            model.publish(now, one.echo ? undefined : one.peer);
            answers.push([answer, { channel, epoch, offset: model.top }]);
          } else if (one.act === 'burst') {
            const sent = Array.from({ length: one.count }, (_, n) => rooms.publish(channel, 'chat', n));
            for (let n = 0; n < one.count; n++) model.publish(now);
            for (const { position } of await Promise.all(sent)) epoch ??= position?.epoch;
          } else if (engine.pass !== undefined) {
            await engine.pass(clock, one.ms);
            now += one.ms;
          }
        }
        await engine.settle?.();
        for (const [index, client] of clients.entries()) {
          await ask(client, 'unsubscribe', { channel });
          take(index);
        }
        expect(answers.map(([answer]) => answer)).toEqual(answers.map(([, expected]) => expected));
        expect(received).toEqual(model.expected);
        expect(table.size).toEqual({ rooms: 0, memberships: 0 });
      }),
      { numRuns: 60 },
    );
  });
}
