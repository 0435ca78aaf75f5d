import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { encodeFrame } from '../support/frames.js';
import { BINARY, objects } from '../support/hostile-messages.js';
import { Miniature, withstands } from '../support/miniature.js';
import { RawClient } from '../support/raw-client.js';
import { token } from '../support/tokens.js';
import { AudioModule } from './audio/audio.js';

const secret = vi.hoisted(() => (process.env.JWT_SECRET = 'a-secret-of-the-answering-machine-of-32-bytes'));
const callToken = (sub: string): string => token({ sub, roles: ['call'] }, secret);

let machine: Miniature;
beforeAll(async () => void (machine = await Miniature.start(AudioModule)));
afterAll(() => machine.stop());

/** What the telephone service does with a call. */
async function call(name: string): Promise<RawClient> {
  const client = await RawClient.connect(`${machine.url}/audio`, { token: callToken(name) });
  expect(await client.ask({ event: 'start', stream: name, sampleRate: 16_000 })).toEqual({ event: 'started', stream: name }); // prettier-ignore
  return client;
}

/** So many samples, each of this value. */
const samples = (value: number, count = 320): Buffer => Buffer.from(new Int16Array(count).fill(value).buffer);

const echoOf = async (client: RawClient, part: Buffer): Promise<unknown> => {
  client.send(part);
  return client.next();
};

describe('an audio stream of a telephone service', () => {
  it('has its samples answered as bytes or as text, as they came, and all of them again', async () => {
    const client = await call('c1');
    for (const value of [1_000, 2_000, -3_000]) {
      expect(await echoOf(client, samples(value))).toEqual(samples(value / 2));
    }
    const payload = samples(4_000).toString('base64');
    expect(await client.ask({ event: 'media', payload })).toEqual({
      event: 'media',
      payload: samples(2_000).toString('base64'),
    });
    client.send({ event: 'key', digit: '2' });
    client.send({ event: 'key', digit: '1' });
    for (const value of [1_000, 2_000, -3_000, 4_000]) expect(await client.next()).toEqual(samples(value));
    expect(await client.ask({ event: 'stop' })).toEqual({ event: 'stopped', stream: 'c1', seconds: 0.08 });
    await client.close();
  });

  it('is told what is wrong, by an event of its own wire', async () => {
    const client = await RawClient.connect(`${machine.url}/audio`, { token: callToken('c2') });
    expect(await client.ask(samples(1))).toMatchObject({ event: 'error', code: 'CONFLICT' });
    expect(await client.ask({ event: 'start', stream: 'c2', sampleRate: 8_000 })).toMatchObject({ code: 'VALIDATION_FAILED' }); // prettier-ignore
    for (const session of machine.sessions.find({ subject: 'c2' })) session.close('CONFLICT');
    expect(await client.json()).toEqual({ event: 'closing', code: 'CONFLICT', message: 'Conflict' });
    const stranger = await RawClient.connect(`${machine.url}/audio`, { token: token({}, secret) });
    expect(await stranger.ask(samples(1))).toMatchObject({ event: 'error', code: 'FORBIDDEN' });
    await stranger.close();
  });

  it('is recorded for ten seconds and no longer', async () => {
    const client = await call('c3');
    for (let i = 0; i < 11; i++) await echoOf(client, samples(i, 16_000));
    expect(await client.ask({ event: 'stop' })).toMatchObject({ seconds: 10 });
    await client.close();
  });
});

describe('the machine that answers it', () => {
  let client: RawClient;
  beforeAll(async () => void (client = await call('witness')));
  afterAll(() => client.close());

  withstands({
    miniature: () => machine,
    attacker: (n) => ({ path: '/audio', headers: [`Authorization: Bearer ${callToken(`m${n}`)}`] }),
    hostile: [...objects('event', 'data', 'start'), ...BINARY],
    probe: encodeFrame({ opcode: 1, payload: '{"event":"ping"}' }),
    isServed: (message) => message === '{"event":"pong"}',
    isRefusal: (message) => message.toString().startsWith('{"event":"error"'),
    witness: async () => expect(await echoOf(client, samples(2))).toEqual(samples(1)),
  });
});
