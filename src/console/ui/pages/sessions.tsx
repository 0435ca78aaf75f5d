import { useState } from 'preact/hooks';
import type { JSX } from 'preact';
import { bytes, count, NONE, span } from '../format.js';
import { usePolled, useStore } from '../hooks.js';
import { sentenceOf } from '../store.js';
import { Head } from '../table.js';
import type { SessionRow } from '../../wire.js';

type By = 'subject' | 'clientAddress' | 'sessionId';

export function Sessions(): JSX.Element {
  const store = useStore();
  const [by, setBy] = useState<By>('subject');
  const [text, setText] = useState('');
  const [cursors, setCursors] = useState<readonly string[]>([]);
  const [note, setNote] = useState<string | undefined>(undefined);
  const cursor = cursors.at(-1);
  const wanted = text.trim();
  const { value, problem, again } = usePolled(
    () =>
      store.client.request('ws-gateway.sessions', {
        ...(wanted !== '' && { [by]: wanted }),
        ...(cursor !== undefined && { cursor }),
      }),
    [by, wanted, cursor],
  );
  const end = async ({ id }: SessionRow): Promise<void> => {
    const said = await store.client
      .request('ws-gateway.sessions.end', { sessionId: id })
      .then(
        ({ ended }) =>
          ended === 0 ? 'The session had ended already.' : 'The session has ended; its token is refused from now on.',
        sentenceOf,
      );
    setNote(said);
    again();
  };
  const filter = (change: () => void): void => {
    change();
    setCursors([]);
  };
  return (
    <section class="card" aria-label="Sessions">
      <div class="row form">
        <label>
          By
          <select value={by} onChange={(event) => filter(() => setBy(event.currentTarget.value as By))}>
            <option value="subject">subject</option>
            <option value="clientAddress">address</option>
            <option value="sessionId">session id</option>
          </select>
        </label>
        <label class="grow">
          Exactly this
          <input data-search value={text} onInput={(event) => filter(() => setText(event.currentTarget.value))} />
        </label>
        <span class="muted">
          {value === undefined ? '' : `${count(value.total)} ${value.total === 1 ? 'session' : 'sessions'}`}
        </span>
      </div>
      <p role="status" class="muted">
        {note}
      </p>
      {problem !== undefined && <p class="bad">{problem}</p>}
      <div class="scroll" tabIndex={0} role="region" aria-label="Sessions, the oldest first">
        <table>
          <thead>
            <Head
              names={['Subject', 'Address', 'Path', 'Session', 'Connected', 'Expires']}
              numbers={['In flight', 'Queued']}
              hasAct
            />
          </thead>
          <tbody>
            {value?.items.map((session) => (
              <Row key={session.id} session={session} end={end} />
            ))}
          </tbody>
        </table>
        {value?.items.length === 0 && <p class="empty">No session matches.</p>}
      </div>
      <div class="row">
        <button type="button" disabled={cursors.length === 0} onClick={() => setCursors(cursors.slice(0, -1))}>
          Before
        </button>
        <button
          type="button"
          disabled={value?.next === undefined}
          onClick={() => value?.next !== undefined && setCursors([...cursors, value.next])}
        >
          Next
        </button>
        <span class="muted">{`Page ${cursors.length + 1}`}</span>
      </div>
    </section>
  );
}

function Row({ session, end }: { session: SessionRow; end(session: SessionRow): Promise<void> }): JSX.Element {
  const [isSure, setSure] = useState(false);
  const { id, subject, clientAddress, path, connectedAt, expiresAt, inFlight, queuedBytes } = session;
  const { now } = useStore();
  return (
    <tr>
      <td>{subject ?? <span class="muted">anonymous</span>}</td>
      <td class="mono">{clientAddress}</td>
      <td class="mono">{path}</td>
      <td class="mono" title={id}>
        {id.slice(0, 8)}
      </td>
      <td class="nowrap">{span(now - connectedAt)}</td>
      <td class="nowrap">{expiresAt === null ? NONE : `in ${span(expiresAt - now)}`}</td>
      <td class="end">{inFlight}</td>
      <td class="end nowrap">{bytes(queuedBytes)}</td>
      <td class="nowrap">
        {isSure ? (
          <>
            <button type="button" class="danger" onClick={() => void end(session)}>
              Yes, end it
            </button>{' '}
            <button type="button" class="quiet" onClick={() => setSure(false)}>
              No
            </button>
          </>
        ) : (
          <button
            type="button"
            class="quiet"
            aria-label={`End the session of ${subject ?? clientAddress}`}
            onClick={() => setSure(true)}
          >
            End
          </button>
        )}
      </td>
    </tr>
  );
}
