import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { stopApps } from '../support/app.js';
import { Both, usualPipe, withoutWords } from './parity/both.js';
import type { Case } from './parity/both.js';
import { payloadCases, payloadGateway } from './parity/payloads.js';
import {
  clearTrace,
  DecoratedGateway,
  ScopedGateway,
  shapeCases,
  shapeProviders,
  ShapesGateway,
} from './parity/shapes.js';

let both: Both;
afterEach(async () => {
  await both.stop();
  await stopApps();
});

function compare(cases: readonly Case[]): void {
  it.each(cases.filter(({ differs }) => differs === undefined))('$name', async (one) => {
    const { stock, ours } = await both.ask(one);
    expect(withoutWords(ours)).toEqual(withoutWords(stock));
  });
  it.each(cases.filter(({ differs }) => differs !== undefined))('$name, where $differs.because', async (one) => {
    const { stock, ours } = await both.ask(one);
    expect(ours).toEqual(one.differs?.ours);
    expect(ours, 'no longer differs').not.toEqual(stock);
  });
}

describe('a payload with the usual ValidationPipe', () => {
  beforeEach(async () => void (both = await Both.start({ gateways: [payloadGateway()], pipes: () => [usualPipe()] })));
  compare(payloadCases);
});

describe('a handler, and what is around it', () => {
  const gateways = [ShapesGateway, ScopedGateway, DecoratedGateway];
  describe('with the usual ValidationPipe', () => {
    beforeEach(
      async () =>
        void (both = await Both.start({
          gateways,
          providers: shapeProviders,
          reset: clearTrace,
          pipes: () => [usualPipe()],
        })),
    );
    compare(shapeCases);
  });
});
