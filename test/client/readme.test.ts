import { createElement } from 'react';
import { renderToString } from 'react-dom/server';
import { afterEach, expect, it, vi } from 'vitest';
import { createClient } from '../../src/client/index.js';
import type { SignalHandlers } from '../../src/client/index.js';
import { createMockGateway } from '../../src/client/testing.js';
import { startApp, stopApps } from '../support/app.js';
import { token } from '../support/tokens.js';
import { whoAmI } from '../apps/clients/backend.js';
import { testOrders } from '../apps/clients/mock.js';
import { nativeSignals } from '../apps/clients/native.js';
import { Prices } from '../apps/clients/prices.js';
import { Room } from '../apps/clients/room.js';
import { placeOrder, shop } from '../apps/clients/shop.js';
import { failureOf } from './support.js';

/** The page is in browser.test.ts, Python in python.test.ts. */

afterEach(stopApps);

it('renders on a server, where nothing is connected', () => {
  expect(renderToString(createElement(Prices, { article: 'tea' }))).toBe('<p>idle, order 0, </p>');
  expect(renderToString(createElement(Room, { name: 'room.42', reload: () => undefined }))).toBe(
    '<button>idle: </button>',
  );
  expect(shop.state.status).toBe('idle');
});

it('says whether an order was placed', async () => {
  const placed = placeOrder('tea');
  shop.close();
  expect(await placed).toBe('Not placed');
});

it('tests a front end', testOrders);

it('goes by the fake timers of a test', async () => {
  vi.useFakeTimers();
  try {
    const gateway = createMockGateway({});
    const client = createClient({ url: 'ws://mock', createSocket: gateway.createSocket, random: () => 1 });
    await client.connect();
    gateway.drop();
    await vi.advanceTimersByTimeAsync(999);
    expect(client.state.status).toBe('waiting');
    await vi.advanceTimersByTimeAsync(1);
    expect(client.state.status).toBe('open');
    client.close();
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});

it('asks from a backend who it is', async () => {
  const { url } = await startApp();
  expect(await whoAmI(`${url}/ws`, () => Promise.resolve(token()))).toBe('ada');
});

it.runIf('WebSocket' in globalThis)('needs nothing on a Node that has a WebSocket', async () => {
  const { url } = await startApp();
  const client = createClient({ url: `${url}/ws`, auth: { token: () => token() } });
  expect(await client.request('session')).toMatchObject({ subject: 'ada' });
  expect(await failureOf(client.request('nowhere'))).toMatchObject({ code: 'UNKNOWN_EVENT' });
  client.close();
});

it('hears what React Native tells, until it is enough', () => {
  let change: (state: string) => void = () => undefined;
  let connected: (state: { isConnected: boolean | null }) => void = () => undefined;
  const told: string[] = [];
  const AppState = {
    addEventListener(_: 'change', listener: typeof change) {
      change = listener;
      return { remove: () => void told.push('removed') };
    },
  };
  const NetInfo = {
    addEventListener(listener: typeof connected) {
      connected = listener;
      return () => void told.push('ended');
    },
  };
  const handlers = Object.fromEntries(
    ['online', 'offline', 'visible', 'hidden', 'suspend', 'resume'].map((name) => [name, () => told.push(name)]),
  ) as unknown as SignalHandlers; // because these are its names
  const end = nativeSignals(AppState, NetInfo)(handlers);
  for (const state of ['background', 'active']) change(state);
  for (const isConnected of [false, true, null]) connected({ isConnected });
  end();
  expect(told).toEqual(['hidden', 'visible', 'offline', 'online', 'online', 'removed', 'ended']);
});
