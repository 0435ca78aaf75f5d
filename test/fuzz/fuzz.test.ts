import { describe, expect, it } from 'vitest';
import { fuzz } from './fuzz.js';
import { generate } from './generate.js';
import { Model } from './model.js';
import { closeFrame, encodeFrame, textFrame } from '../support/frames.js';

describe('the fuzzer', () => {
  it('makes the same input of the same seed and index, and another of every other', () => {
    expect(generate(7, 11)).toEqual(generate(7, 11));
    const inputs = new Set(Array.from({ length: 500 }, (_, index) => generate(7, index).bytes.toString('hex')));
    expect(inputs.size).toBeGreaterThan(470); // a handshake with nothing wrong about it comes now and then;
    expect(generate(8, 11)).not.toEqual(generate(7, 11));
  });

  it('knows what a peer is owed', () => {
    const model = new Model('user');
    model.feed(
      Buffer.concat([textFrame('{"event":"x","id":"a"}'), textFrame('[]'), encodeFrame({ opcode: 9, payload: 'p' })]),
    );
    model.feed(encodeFrame({ opcode: 1, payload: '{"id":', fin: false }));
    expect(model.state).toBe('inside a message');
    model.feed(encodeFrame({ opcode: 0, payload: '2}' }));
    expect(model.expected).toMatchObject({
      requests: [
        { id: '"a"', event: 'x' },
        { id: '2', event: '' },
      ],
      badFrames: 1,
      pongs: [Buffer.from('p')],
      end: undefined,
    });
    model.feed(closeFrame(1005));
    expect(model.expected.end).toEqual({ byPeer: false, code: 1002 });
  });

  it('finds nothing in 2,000 inputs: each is answered or closed', async () => {
    const { finding } = await fuzz({ seed: 2_026, n: 2_000 });
    const shown = finding && { ...finding, input: { ...finding.input, bytes: finding.input.bytes.toString('hex') } };
    expect(shown).toBeUndefined();
  }, 60_000);
});
