import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { JSX } from 'preact';
import { isConnectionError, isException } from '../../../client/index.js';
import type { ClientState } from '../../../client/index.js';
import type { About, EventRow } from '../../wire.js';
import { Explained } from '../explained.js';
import { ms, time } from '../format.js';
import { useConsole, usePolled, useStore } from '../hooks.js';
import { jsonProblem, snippets } from '../snippets.js';
import { gatewayUrl, sentenceOf } from '../store.js';
import { authOf, open } from '../trial.js';
import type { Seen, Session, Who } from '../trial.js';
import { accessOf } from './events.js';
import { Copy } from './failures.js';

const MAX_CONNECTIONS = 3;
const MAX_FRAMES = 300;

/** Tries events by hand. It is the first user of our own client. */
export function Playground({ query }: { query: URLSearchParams }): JSX.Element {
  const store = useStore();
  const { about } = useConsole(store);
  const { value: events = [] } = usePolled(() => store.client.request('ws-gateway.events'));
  const [panes, setPanes] = useState<readonly number[]>([1]);
  if (about === undefined) return <p class="muted">Asking…</p>;
  return (
    <>
      <div class={`panes of${panes.length}`}>
        {panes.map((pane) => (
          <Pane
            key={pane}
            number={pane}
            about={about}
            events={events}
            event={query.get('event') ?? undefined}
            path={query.get('path') ?? undefined}
            close={panes.length > 1 ? () => setPanes(panes.filter((each) => each !== pane)) : undefined}
          />
        ))}
      </div>
      <div class="row">
        <button
          type="button"
          disabled={panes.length >= MAX_CONNECTIONS}
          onClick={() => setPanes([...panes, Math.max(...panes) + 1])}
        >
          Another connection beside it
        </button>
        <span class="muted">
          What you send is real: handlers run, budgets are charged, and the failures page shows what fails.
        </span>
      </div>
    </>
  );
}

interface PaneProps {
  readonly number: number;
  readonly about: About;
  readonly events: readonly EventRow[];
  readonly event: string | undefined;
  readonly path: string | undefined;
  readonly close: (() => void) | undefined;
}

function Pane({ number, about, events, event, path: wantedPath, close }: PaneProps): JSX.Element {
  const store = useStore();
  const [path, setPath] = useState(wantedPath ?? about.paths[0] ?? '/ws');
  const [who, setWho] = useState<Who>({
    kind: about.canMint ? 'minted' : 'pasted',
    sub: number === 1 ? 'ada' : 'bob',
    roles: 'buyer',
    scope: '',
    token: '',
  });
  const [state, setState] = useState<ClientState | undefined>(undefined);
  const [frames, setFrames] = useState<readonly Seen[]>([]);
  const session = useRef<Session | undefined>(undefined);
  const note = (seen: Omit<Seen, 'at'>): void =>
    setFrames((before) => [...before, { at: Date.now(), ...seen }].slice(-MAX_FRAMES));

  const disconnect = (): void => {
    session.current?.client.close();
    session.current = undefined;
    setState(undefined);
  };
  useEffect(() => disconnect, []);

  const connect = async (as = who, seconds?: number): Promise<void> => {
    disconnect();
    try {
      const made = open(gatewayUrl(store.config, path), await authOf(store, as, seconds), note, setState);
      session.current = made;
      await made.client.connect();
    } catch (error) {
      note({ direction: 'note', text: sentenceOf(error) });
    }
  };
  const isOpen = state?.status === 'open';
  const isMinted = who.kind === 'minted';
  return (
    <section class="card pane" aria-label={`Connection ${number}`}>
      <div class="row">
        <h2 class="grow">
          Connection {number}{' '}
          <span class={`pill ${isOpen ? 'good' : 'muted'}`}>{state?.status ?? 'not connected'}</span>
        </h2>
        {close !== undefined && (
          <button type="button" class="quiet" onClick={() => (disconnect(), close())}>
            Remove
          </button>
        )}
      </div>
      <form
        class="row form"
        onSubmit={(submitted) => {
          submitted.preventDefault();
          if (isOpen) disconnect();
          else void connect();
        }}
      >
        <label>
          Path
          <select value={path} onChange={(changed) => setPath(changed.currentTarget.value)}>
            {about.paths.map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        </label>
        <WhoFields who={who} set={setWho} canMint={about.canMint} />
        <button class={isOpen ? '' : 'primary'}>{isOpen ? 'Disconnect' : 'Connect'}</button>
      </form>
      <Sender
        events={events.filter((each) => each.path === path)}
        event={event}
        session={session}
        isOpen={isOpen}
        note={note}
        url={gatewayUrl(store.config, path)}
      />
      <Provoke
        session={session}
        isOpen={isOpen}
        isMinted={isMinted}
        about={about}
        note={note}
        expireIn={(seconds) => void connect(who, seconds)}
        beSilent={() => void connect({ ...who, kind: 'nobody' })}
      />
      <Timeline frames={frames} clear={() => setFrames([])} />
    </section>
  );
}

function WhoFields({ who, set, canMint }: { who: Who; set(who: Who): void; canMint: boolean }): JSX.Element {
  const field = (name: 'sub' | 'roles' | 'scope', label: string): JSX.Element => (
    <label>
      {label}
      <input size={9} value={who[name]} onInput={(changed) => set({ ...who, [name]: changed.currentTarget.value })} />
    </label>
  );
  return (
    <>
      <label>
        As
        <select
          value={who.kind}
          onChange={(changed) => set({ ...who, kind: changed.currentTarget.value as Who['kind'] })}
        >
          {canMint && <option value="minted">a minted subject</option>}
          <option value="pasted">a token of mine</option>
          <option value="nobody">nobody</option>
        </select>
      </label>
      {who.kind === 'minted' && (
        <>
          {field('sub', 'Subject')}
          {field('roles', 'Roles')}
          {field('scope', 'Scopes')}
        </>
      )}
      {who.kind === 'pasted' && (
        <label class="grow">
          Token
          <input
            value={who.token}
            autocomplete="off"
            spellcheck={false}
            onInput={(changed) => set({ ...who, token: changed.currentTarget.value })}
          />
        </label>
      )}
    </>
  );
}

interface SenderProps {
  readonly events: readonly EventRow[];
  readonly event: string | undefined;
  readonly session: { current: Session | undefined };
  readonly isOpen: boolean;
  readonly note: (seen: Omit<Seen, 'at'>) => void;
  readonly url: string;
}

function Sender({ events, event, session, isOpen, note, url }: SenderProps): JSX.Element {
  const [name, setName] = useState(event ?? '');
  const [text, setText] = useState<string | undefined>(undefined);
  const [isStream, setStream] = useState(false);
  const running = useRef<AbortController | undefined>(undefined);
  const [isRunning, setRunning] = useState(false);
  const chosen = name === '' ? (events[0]?.event ?? 'ping') : name;
  const row = events.find((each) => each.event === chosen);
  const example = row?.example;
  const shown = text ?? (example === null || example === undefined ? '' : JSON.stringify(example, null, 2));
  const problem = useMemo(() => jsonProblem(shown), [shown]);

  const send = async (): Promise<void> => {
    const client = session.current?.client;
    if (client === undefined || problem !== undefined) return;
    const data: unknown = shown.trim() === '' ? undefined : JSON.parse(shown);
    try {
      if (!isStream) return void (await client.request(chosen, data));
      running.current = new AbortController();
      setRunning(true);
      const values = client.stream(chosen, data, { signal: running.current.signal });
      while ((await values.next()).done !== true);
    } catch (error) {
      if (isException(error) || running.current?.signal.aborted === true) return; // the timeline has its frame
      note({
        direction: 'note',
        text: sentenceOf(error),
        ...(isConnectionError(error) && { code: error.disconnect?.code ?? 'CONNECTION_LOST' }),
      });
    } finally {
      setRunning(false);
    }
  };
  return (
    <form
      class="sender"
      onSubmit={(submitted) => {
        submitted.preventDefault();
        void send();
      }}
    >
      <div class="row form">
        <label class="grow">
          Event
          <input
            list="events"
            value={chosen}
            onInput={(changed) => (setName(changed.currentTarget.value), setText(undefined))}
          />
          <datalist id="events">
            {events.map((each) => (
              <option key={each.event} value={each.event} />
            ))}
          </datalist>
        </label>
        <label class="check">
          <input type="checkbox" checked={isStream} onChange={(changed) => setStream(changed.currentTarget.checked)} />{' '}
          its reply is a stream
        </label>
        {isRunning ? (
          <button type="button" onClick={() => running.current?.abort()}>
            Stop
          </button>
        ) : (
          <button class="primary" disabled={!isOpen || problem !== undefined}>
            Send
          </button>
        )}
      </div>
      {row !== undefined && <p class="muted">{`Takes ${accessOf(row)}.`}</p>}
      <label>
        Data, as JSON
        <textarea
          rows={Math.min(10, Math.max(3, shown.split('\n').length))}
          spellcheck={false}
          value={shown}
          onInput={(changed) => setText(changed.currentTarget.value)}
        />
      </label>
      <div class="row">
        {problem !== undefined && <span class="bad">{problem}</span>}
        <span class="grow" />
        <span class="muted">Copy as</span>
        {snippets(url, chosen, shown).map(([language, code]) => (
          <Copy key={language} text={code} label={language} />
        ))}
      </div>
    </form>
  );
}

interface ProvokeProps {
  readonly session: { current: Session | undefined };
  readonly isOpen: boolean;
  readonly isMinted: boolean;
  readonly about: About;
  readonly note: (seen: Omit<Seen, 'at'>) => void;
  expireIn(seconds: number): void;
  beSilent(): void;
}

/** Bounded acts that a gateway answers with a code. They are violations, so they are for minted subjects only. */
function Provoke({ session, isOpen, isMinted, about, note, expireIn, beSilent }: ProvokeProps): JSX.Element {
  const { maxMessageBytes, messageBurst } = about.limits;
  const burst = Math.min(1_000, (messageBurst ?? 100) * 2);
  const send = (text: string, times: number, says: string): void => {
    const raw = session.current?.raw();
    if (raw === undefined || raw.readyState !== WebSocket.OPEN) return;
    note({ direction: 'note', text: says });
    for (let i = 0; i < times; i++) raw.send(text);
  };
  const acts: [label: string, act: () => void][] = [
    ['12 bad frames', () => send('{"no": "event"}', 12, 'sends 12 frames without an event')],
    [`${burst} messages`, () => send('{"event":"ping"}', burst, `sends ${burst} pings at once`)],
    [
      'A large message',
      () =>
        send(
          JSON.stringify({ event: 'ping', data: 'x'.repeat(maxMessageBytes) }),
          1,
          `sends a little more than ${maxMessageBytes} bytes`,
        ),
    ],
    ['A token of 5 seconds', () => expireIn(5)],
    ['Silence', beSilent],
  ];
  return (
    <div class="row">
      <span class="muted">Provoke</span>
      {acts.map(([label, act]) => (
        <button key={label} type="button" disabled={!isOpen || !isMinted} onClick={act}>
          {label}
        </button>
      ))}
      {!isMinted && <span class="muted">for minted subjects only: these are violations, and lead to bans</span>}
    </div>
  );
}

function Timeline({ frames, clear }: { frames: readonly Seen[]; clear(): void }): JSX.Element {
  const list = useRef<HTMLOListElement>(null);
  useEffect(() => {
    list.current?.scrollTo({ top: list.current.scrollHeight });
  }, [frames]);
  return (
    <>
      <div class="row">
        <h3 class="grow">Frames</h3>
        <button type="button" class="quiet" disabled={frames.length === 0} onClick={clear}>
          Clear
        </button>
      </div>
      {frames.length === 0 && <p class="empty">Connect, choose an event, send.</p>}
      <ol class="frames" ref={list} aria-label="Frames, the oldest first" aria-live="polite" tabIndex={0}>
        {frames.map((seen, index) => (
          <li key={`${seen.at} ${index}`} class={seen.code === undefined ? seen.direction : 'fail'}>
            <span class="muted mono">
              {time(seen.at)} {{ in: '◀', out: '▶', note: '·' }[seen.direction]}{' '}
              {seen.tookMs !== undefined && ms(seen.tookMs)}
            </span>
            <pre>
              {seen.text.length > 2_000 ? `${seen.text.slice(0, 2_000)}… (${seen.text.length} characters)` : seen.text}
            </pre>
            {seen.code !== undefined && <Explained code={seen.code} />}
            {seen.next !== undefined && <p>{seen.next}</p>}
          </li>
        ))}
      </ol>
    </>
  );
}
