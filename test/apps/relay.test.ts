import { AbstractRelay } from 'nostr-tools/abstract-relay';
import { finalizeEvent, generateSecretKey, verifyEvent } from 'nostr-tools/pure';
import type { NostrEvent } from 'nostr-tools/pure';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { until } from '../support/app.js';
import { textFrame } from '../support/frames.js';
import { ARRAYS } from '../support/hostile-messages.js';
import { Miniature, withstands } from '../support/miniature.js';
import { RelayModule } from './relay/relay.js';

let relay: Miniature;
beforeAll(async () => void (relay = await Miniature.start(RelayModule)));
afterAll(() => relay.stop());

async function connect(): Promise<AbstractRelay> {
  // because what nostr-tools asks of a WebSocket is what that of ws has
  const client = new AbstractRelay(relay.url, { verifyEvent, websocketImplementation: WebSocket as never });
  client.onnotice = () => undefined;
  await client.connect();
  return client;
}

const key = generateSecretKey();
const sign = (kind: number, content: string): NostrEvent =>
  finalizeEvent({ kind, created_at: 1_700_000_000, tags: [['t', 'tea']], content }, key);

describe('a relay with clients of nostr-tools', () => {
  it('takes notes, and gives those that fit, also later ones', async () => {
    const [author, reader] = [await connect(), await connect()];
    const first = sign(1, 'first');
    await author.publish(first);
    await author.publish(first); // which it has
    await author.publish(sign(30_023, 'another kind'));
    const seen: string[] = [];
    let hasEnded = false;
    const subscription = reader.subscribe([{ kinds: [1], '#t': ['tea'] }], {
      onevent: ({ content }) => seen.push(content),
      oneose: () => (hasEnded = true),
    });
    await until(() => hasEnded);
    expect(seen).toEqual(['first']);
    await author.publish(sign(1, 'second'));
    await until(() => seen.length === 2);
    subscription.close();
    expect(await reader.count([{ kinds: [1] }], {})).toBe(2); // behind CLOSE
    await author.publish(sign(1, 'third'));
    expect(await reader.count([{ authors: [first.pubkey] }], {})).toBe(4);
    expect(seen).toEqual(['first', 'second']);
    for (const client of [author, reader]) client.close();
  });

  it('says why it does not take a note, and gives notice of what is no message', async () => {
    const client = await connect();
    const notices: string[] = [];
    client.onnotice = (text) => notices.push(text);
    const forged = { ...sign(1, 'mine'), content: 'yours' };
    await expect(client.publish(forged)).rejects.toThrow('invalid: the signature does not fit');
    await expect(client.publish(sign(7, '+'))).rejects.toThrow('blocked: this relay has no reactions');
    await expect(client.publish({ ...forged, kind: -1 })).rejects.toThrow('invalid: The payload is not valid');
    await client.send('["HELLO"]');
    await client.send('nonsense');
    await until(() => notices.length === 2);
    expect(notices).toEqual(['auth-required: Authentication required', 'invalid: Not JSON']);
    client.close();
  });
});

describe('a relay', () => {
  let client: AbstractRelay;
  beforeAll(async () => void (client = await connect()));
  afterAll(() => client.close());

  withstands({
    miniature: () => relay,
    attacker: () => ({ path: '/' }),
    hostile: ARRAYS,
    probe: textFrame('["COUNT","probe",{"ids":[]}]'),
    isServed: (message) => message === '["COUNT","probe",{"count":0}]',
    isRefusal: (message) => /^\["(NOTICE|CLOSED|OK)",/.test(message.toString()),
    witness: async () => expect(await client.count([{ ids: [] }], {})).toBe(0),
  });
});
