import { useEffect, useRef, useState } from 'preact/hooks';
import type { JSX } from 'preact';
import { span, time } from './format.js';
import { StoreContext, useConsole, useRoute } from './hooks.js';
import { Events } from './pages/events.js';
import { Failures } from './pages/failures.js';
import { Firewall } from './pages/firewall.js';
import { Overview } from './pages/overview.js';
import { Playground } from './pages/playground.js';
import { Rooms } from './pages/rooms.js';
import { Sessions } from './pages/sessions.js';
import type { State, Store } from './store.js';

interface Page {
  readonly id: string;
  readonly title: string;
  readonly view: (props: { query: URLSearchParams }) => JSX.Element;
}

const PAGES: readonly Page[] = [
  { id: 'overview', title: 'Overview', view: Overview },
  { id: 'failures', title: 'Failures', view: Failures },
  { id: 'sessions', title: 'Sessions', view: Sessions },
  { id: 'firewall', title: 'Firewall', view: Firewall },
  { id: 'rooms', title: 'Rooms and nodes', view: Rooms },
  { id: 'events', title: 'Events', view: Events },
  { id: 'playground', title: 'Playground', view: Playground },
];

export function App({ store }: { store: Store }): JSX.Element {
  const state = useConsole(store);
  return (
    <StoreContext.Provider value={store}>
      {state.isSignedIn ? <Shell store={store} state={state} /> : <SignIn store={store} state={state} />}
    </StoreContext.Provider>
  );
}

function Shell({ store, state }: { store: Store; state: State }): JSX.Element {
  const [id, query] = useRoute();
  const page = PAGES.find((each) => each.id === id) ?? (PAGES[0] as Page); // because there is one
  const main = useRef<HTMLElement>(null);
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      const { target } = event;
      const isWriting =
        target instanceof HTMLInputElement ||
        target instanceof HTMLTextAreaElement ||
        target instanceof HTMLSelectElement;
      if (isWriting || event.ctrlKey || event.metaKey || event.altKey) return;
      const wanted = PAGES[Number(event.key) - 1];
      if (wanted !== undefined) location.hash = `#/${wanted.id}`;
      if (event.key === '/') {
        const search = document.querySelector<HTMLInputElement>('[data-search]');
        if (search !== null) event.preventDefault();
        search?.focus();
      }
    };
    addEventListener('keydown', pressed);
    return () => removeEventListener('keydown', pressed);
  }, []);
  const View = page.view;
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), main.current?.focus())}>
        To the content
      </a>
      <header class="top">
        <div class="bar">
          <Logo />
          <h1>{state.about?.title}</h1>
          <span class="muted nowrap">
            {state.about?.node}
            {state.about !== undefined && ` · up ${span(state.about.now - state.about.startedAt)}`}
          </span>
          <Readiness state={state} />
          <span class="grow" />
          <span class="muted nowrap">{state.about?.who}</span>
          <Theme />
          <button type="button" class="quiet" onClick={() => store.signOut()}>
            Sign out
          </button>
        </div>
        <nav aria-label="Pages">
          {PAGES.map((each, index) => (
            <a key={each.id} href={`#/${each.id}`} aria-current={each === page ? 'page' : undefined}>
              <kbd aria-hidden="true">{index + 1}</kbd>
              {each.title}
            </a>
          ))}
        </nav>
      </header>
      <Connection store={store} state={state} />
      {state.problem !== undefined && (
        <div class="banner" role="alert">
          {state.problem}
        </div>
      )}
      <main id="main" ref={main} tabIndex={-1} aria-label={page.title}>
        <View query={query} />
      </main>
    </>
  );
}

function Logo(): JSX.Element {
  return (
    <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="7" fill="var(--accent)" />
      <path
        d="M6 19h4l3-9 5 14 3-8h5"
        fill="none"
        stroke="var(--accent-text)"
        stroke-width="2.6"
        stroke-linecap="round"
        stroke-linejoin="round"
      />
    </svg>
  );
}

function Readiness({ state: { about } }: { state: State }): JSX.Element | null {
  if (about === undefined) return null;
  const { ready, reasons, warnings } = about;
  const words = ready
    ? warnings.length > 0
      ? `ready, but ${warnings.join(', ')}`
      : 'ready'
    : `not ready: ${reasons.join(', ')}`;
  return <span class={`pill ${ready ? (warnings.length > 0 ? 'warn' : 'good') : 'bad'}`}>{words}</span>;
}

/** The page is never quietly stale. */
function Connection({ store, state: { status } }: { store: Store; state: State }): JSX.Element | null {
  const [now, setNow] = useState(Date.now());
  const isWaiting = status.status === 'waiting';
  useEffect(() => {
    if (!isWaiting) return undefined;
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, [isWaiting]);
  if (status.status === 'open') return null;
  const { retryAt, lastDisconnect } = status;
  return (
    <div class="banner row" role="status">
      <span>
        {isWaiting && retryAt !== undefined
          ? `Not connected; trying again in ${span(Math.max(0, retryAt - now))}.`
          : 'Connecting…'}
        {lastDisconnect !== undefined && (
          <span class="muted"> {`${lastDisconnect.code}: ${lastDisconnect.message}`}</span>
        )}
      </span>
      {isWaiting && (
        <button type="button" onClick={() => store.client.retryNow()}>
          Now
        </button>
      )}
    </div>
  );
}

function Theme(): JSX.Element {
  const isDark = (): boolean => {
    const own = document.documentElement.dataset.theme;
    return own === undefined ? matchMedia('(prefers-color-scheme: dark)').matches : own === 'dark';
  };
  const [dark, set] = useState(isDark());
  const turn = (): void => {
    document.documentElement.dataset.theme = dark ? 'light' : 'dark';
    set(!dark);
    dispatchEvent(new Event('theme'));
  };
  return (
    <button type="button" class="quiet" onClick={turn}>
      {dark ? 'Light' : 'Dark'}
    </button>
  );
}

function SignIn({ store, state: { problem, status } }: { store: Store; state: State }): JSX.Element {
  const [token, setToken] = useState('');
  const isBusy = ['connecting', 'opening'].includes(status.status);
  const submit = (event: Event): void => {
    event.preventDefault();
    void store.signIn(token.trim());
  };
  return (
    <main class="card signin" aria-label="Sign in">
      <h1>{store.config.title}</h1>
      {problem !== undefined && (
        <p role="alert" class="bad">
          {problem}
        </p>
      )}
      {store.config.via === 'cookie' ? (
        <p>
          The console uses the session of this browser. <button onClick={() => void store.signIn()}>Try again</button>
        </p>
      ) : (
        <form onSubmit={submit}>
          <label>
            A token with the scope ws-gateway:admin
            <textarea
              rows={4}
              value={token}
              spellcheck={false}
              autocomplete="off"
              onInput={(event) => setToken(event.currentTarget.value)}
            />
          </label>
          <div class="row">
            <button class="primary" disabled={token.trim() === '' || isBusy}>
              Sign in
            </button>
            <span class="muted">It stays in the memory of this page.</span>
          </div>
        </form>
      )}
      <p class="muted">{`As of ${time(Date.now())}, this page has shown nothing yet: its data needs the token.`}</p>
    </main>
  );
}
