import { createClient } from '../../../src/client/index.js';
import type { ClientOptions, ClientState } from '../../../src/client/index.js';
import { page } from './page.js';

interface Shown {
  states: { status: string; code: string | undefined; at: number }[];
  onlineAt: number;
}

/** Connects to the URL in the hash, and keeps what happens when. */
const { url, ...options } = JSON.parse(decodeURIComponent(page.location.hash.slice(1))) as ClientOptions & {
  isDeaf?: boolean;
};
const shown: Shown = { states: [], onlineAt: 0 };
const client = createClient({
  ...options,
  url,
  ...(options.isDeaf === true && { signals: () => () => undefined }),
});
client.subscribe(({ status, lastDisconnect }: ClientState) =>
  shown.states.push({ status, code: lastDisconnect?.code, at: performance.now() }),
);
page.addEventListener('online', () => (shown.onlineAt = performance.now()));
void client.connect();
Object.assign(globalThis, { shown });
