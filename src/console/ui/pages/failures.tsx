import { useMemo, useState } from 'preact/hooks';
import type { JSX } from 'preact';
import { Explained } from '../explained.js';
import { ms, time } from '../format.js';
import { useConsole, useStore } from '../hooks.js';
import { Head } from '../table.js';
import type { FailureRow } from '../../wire.js';

/** Rows that are drawn; the rest is a filter away. */
const MAX_SHOWN = 200;

const KINDS = ['', 'upgrade', 'request', 'connection', 'http'] as const;

export function Failures({ query }: { query: URLSearchParams }): JSX.Element {
  const { failures, dropped } = useConsole(useStore());
  const [held, setHeld] = useState<readonly FailureRow[] | undefined>(undefined);
  const [kind, setKind] = useState('');
  const [text, setText] = useState('');
  const [picked, setPicked] = useState<FailureRow | undefined>(undefined);
  const code = query.get('code') ?? '';
  const all = held ?? failures;
  const codes = useMemo(() => [...new Set(all.map((row) => row.code))].toSorted(), [all]);
  const rows = useMemo(
    () =>
      all
        .filter((row) => (code === '' || row.code === code) && (kind === '' || row.kind === kind) && has(row, text))
        .slice(-MAX_SHOWN)
        .toReversed(),
    [all, code, kind, text],
  );
  const choose = (next: string): void =>
    void (location.hash = next === '' ? '#/failures' : `#/failures?code=${encodeURIComponent(next)}`);
  return (
    <div class="split">
      <section class="card" aria-label="Failures">
        <div class="row form">
          <label>
            Code
            <select value={code} onChange={(event) => choose(event.currentTarget.value)}>
              <option value="">all</option>
              {[...new Set([...codes, ...(code === '' ? [] : [code])])].map((each) => (
                <option key={each}>{each}</option>
              ))}
            </select>
          </label>
          <label>
            Kind
            <select value={kind} onChange={(event) => setKind(event.currentTarget.value)}>
              {KINDS.map((each) => (
                <option key={each} value={each}>
                  {each === '' ? 'all' : each}
                </option>
              ))}
            </select>
          </label>
          <label class="grow">
            Search event, subject, address, incident
            <input data-search value={text} onInput={(event) => setText(event.currentTarget.value)} />
          </label>
          <button
            type="button"
            aria-pressed={held !== undefined}
            onClick={() => setHeld(held === undefined ? failures : undefined)}
          >
            {held === undefined ? 'Pause' : `Paused, ${Math.max(0, failures.length - held.length)} new`}
          </button>
        </div>
        {dropped > 0 && (
          <p class="muted">{`${dropped} came faster than they are shown here; the log has them, or says how many it left out.`}</p>
        )}
        <div class="scroll" tabIndex={0} role="region" aria-label="Failures, the newest first">
          <table>
            <thead>
              <Head names={['Time', 'Code', 'Kind', 'Event', 'Subject', 'Address']} numbers={['Took']} />
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={keyOf(row)} class="pick" aria-selected={row === picked} onClick={() => setPicked(row)}>
                  <td class="mono">{time(row.at)}</td>
                  <td>
                    <button
                      type="button"
                      class={`open ${row.level === 'error' ? 'bad' : ''}`}
                      onClick={() => setPicked(row)}
                    >
                      {row.code}
                    </button>
                  </td>
                  <td>{row.kind}</td>
                  <td class="mono">{row.event ?? row.route}</td>
                  <td>{row.subject}</td>
                  <td class="mono">{row.clientAddress}</td>
                  <td class="end nowrap">{row.durationMs === undefined ? '' : ms(row.durationMs)}</td>
                </tr>
              ))}
            </tbody>
          </table>
          {rows.length === 0 && <p class="empty">Nothing has failed that this filter is about.</p>}
        </div>
      </section>
      <Details row={picked} />
    </div>
  );
}

const keys = new WeakMap<FailureRow, number>();
let made = 0;
function keyOf(row: FailureRow): number {
  let key = keys.get(row);
  if (key === undefined) keys.set(row, (key = ++made));
  return key;
}

function has(row: FailureRow, text: string): boolean {
  if (text === '') return true;
  const wanted = text.toLowerCase();
  return [
    row.event,
    row.route,
    row.subject,
    row.clientAddress,
    row.incidentId,
    row.sessionId,
    row.message,
    row.reason,
  ].some((each) => each?.toLowerCase().includes(wanted));
}

function Details({ row }: { row: FailureRow | undefined }): JSX.Element {
  if (row === undefined) {
    return (
      <aside class="card" aria-label="Details">
        <h2>Why?</h2>
        <p class="muted">Choose a row: what it means, what the log has, and what the client saw.</p>
      </aside>
    );
  }
  const fields: [string, string | number | undefined][] = [
    ['Incident', row.incidentId],
    ['Session', row.sessionId],
    ['Subject', row.subject],
    ['Address', row.clientAddress],
    ['Event', row.event ?? row.route],
    ['HTTP status', row.status],
    ['Close code', row.closeCode],
    ['Took', row.durationMs === undefined ? undefined : ms(row.durationMs)],
    ['Reason', row.reason],
    ['Cause', row.cause],
  ];
  return (
    <aside class="card" aria-label="Details" aria-live="polite">
      <h2 class={row.level === 'error' ? 'bad' : ''}>{row.code}</h2>
      <p class="muted">{`${new Date(row.at).toLocaleString('en-GB')} · ${row.kind} · ${row.level}`}</p>
      <Explained code={row.code} />
      <dl>
        {fields
          .filter(([, value]) => value !== undefined)
          .map(([name, value]) => (
            <>
              <dt key={`${name} name`}>{name}</dt>
              <dd key={name} class="mono">
                {value} {name === 'Incident' && <Copy text={String(value)} />}
              </dd>
            </>
          ))}
        <dt>The client saw</dt>
        <dd>{seen(row)}</dd>
      </dl>
    </aside>
  );
}

/** What of it the client was told; causes stay with the server. */
function seen({ kind, code, message, status, closeCode, incidentId }: FailureRow): string {
  switch (kind) {
    case 'upgrade':
    case 'http':
      return status === undefined ? 'a cut connection' : `HTTP ${status}, {"code":"${code}","message":"${message}"}`;
    case 'request':
      return `exception ${code}: ${message}${incidentId === undefined ? '' : `, with the incident ${incidentId}`}`;
    case 'connection':
      return closeCode === undefined
        ? 'nothing: the connection was gone'
        : `disconnect ${code}: ${message}, then close ${closeCode}`;
  }
}

export function Copy({ text, label = 'Copy' }: { text: string; label?: string }): JSX.Element {
  const [isDone, setDone] = useState(false);
  const copy = (): void => void navigator.clipboard?.writeText(text).then(() => setDone(true));
  return (
    <button type="button" class="quiet" onClick={copy}>
      {isDone ? 'Copied' : label}
    </button>
  );
}
