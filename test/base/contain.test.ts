import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { contain, containResult, containWithin, Faults } from '../../src/base/contain.js';
import { FAULT, FAULTS, thenable } from '../support/foreign.js';
import { ManualClock } from '../support/app.js';

const fault = FAULT;

/** A native promise whose own then() throws: Promise.resolve() would hand it back as it is. */
const overridden = (): unknown => thenable(FAULTS.throws, Promise.resolve());
const getter = (): unknown => new Proxy({}, { get: (_, name) => (name === 'then' ? FAULTS.throws() : undefined) });

const warnings: string[] = [];
const onWarning = ({ message }: Error): void => void warnings.push(message);

beforeEach(() => void process.on('warning', onWarning));
afterEach(() => {
  process.off('warning', onWarning);
  warnings.length = 0;
});

describe('contain', () => {
  const heard: unknown[] = [];
  const failed = (error: unknown): void => void heard.push(error);
  afterEach(() => void (heard.length = 0));

  it.each([
    ['what is thrown', FAULTS.throws],
    ['a rejection', FAULTS.rejects],
    ['a then() that throws', FAULTS['throws in then()']],
    ['a then() of a native promise that throws', overridden],
    ['a then that is a getter and throws', getter],
  ])('hands on %s, once', async (_, call: () => unknown) => {
    await contain(call, failed);
    expect(heard).toEqual([fault]);
  });

  it('takes the first of two answers', async () => {
    await contain(FAULTS['answers twice'] as () => unknown, failed); // because its answer does not matter here
    expect(heard).toEqual([]);
  });

  it('can be waited for when the call returns a promise, and only then', async () => {
    expect(contain(() => 'value', failed)).toBeUndefined();
    expect(containResult(undefined, failed)).toBeUndefined();
    let isDone = false;
    await contain(async () => {
      await new Promise(setImmediate);
      isDone = true;
    }, failed);
    expect(isDone).toBe(true);
  });

  it('does not throw or reject when what reports throws too', async () => {
    const report = (): never => {
      throw new Error('reporter');
    };
    contain(() => {
      throw fault;
    }, report);
    await contain(() => Promise.reject(fault), report);
    await new Promise(setImmediate);
    expect(warnings).toEqual(Array(2).fill('What reports the faults of foreign code threw'));
  });
});

describe('containWithin', () => {
  it('waits for what settles in time', async () => {
    const heard: unknown[] = [];
    await containWithin(
      () => Promise.reject(fault),
      1_000,
      new ManualClock(),
      (error) => heard.push(error),
    );
    await containWithin(
      () => undefined,
      1_000,
      new ManualClock(),
      (error) => heard.push(error),
    );
    expect(heard).toEqual([fault]);
  });

  it('gives up what hangs, says so once, and nothing of what it says later', async () => {
    const clock = new ManualClock();
    const heard: unknown[] = [];
    let reject: (error: unknown) => void = () => undefined;
    const done = containWithin(
      () => new Promise((_, rejecting) => (reject = rejecting)),
      1_000,
      clock,
      (error) => heard.push((error as Error).message),
    );
    clock.advance(1_000);
    await done;
    reject(fault);
    clock.advance(10_000);
    await new Promise(setImmediate);
    expect(heard).toEqual(['It did not settle within 1000 ms']);
  });
});

describe('Faults', () => {
  it('warns of the first, second, fourth and eighth only, whatever was thrown', async () => {
    const faults = new Faults('The sink failed');
    const hostile = new Proxy(new Error('proxy'), {
      getPrototypeOf: () => {
        throw fault;
      },
      get: () => {
        throw fault;
      },
    });
    for (const error of [hostile, undefined, 'text', fault, fault, fault, fault, fault, fault]) faults.tell(error);
    await new Promise(setImmediate);
    expect(warnings).toEqual([
      'The sink failed',
      ...[2, 4, 8].map((count) => `The sink failed, ${count} times by now`),
    ]);
  });
});
