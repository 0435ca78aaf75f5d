import { render } from 'preact';
import type { PageConfig } from '../wire.js';
import { App } from './app.js';
import { Store } from './store.js';

/** A token comes in the fragment, which no server sees, and leaves the address at once. */
function takeToken(): string | undefined {
  const { hash, pathname, search } = location;
  const token = new URLSearchParams(hash.replace(/^#\/?/, '')).get('token') ?? undefined;
  if (token !== undefined) history.replaceState(null, '', `${pathname}${search}#/overview`);
  return token;
}

const token = takeToken();
const config = (await (await fetch('config.json')).json()) as PageConfig; // because the server of this page writes it
const store = new Store(config, token);
const place = document.getElementById('app');
if (place !== null) render(<App store={store} />, place);
if (!store.needsToken) await store.signIn();
