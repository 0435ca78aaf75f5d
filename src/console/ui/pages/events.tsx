import { useState } from 'preact/hooks';
import type { JSX } from 'preact';
import type { EventRow } from '../../wire.js';
import { count, ms, percent, span } from '../format.js';
import { usePolled, useStore } from '../hooks.js';
import { Spark } from '../plot.js';

type Column = 'event' | 'received' | 'errors' | 'p50' | 'p95' | 'p99';

const COLUMNS: readonly [Column, string][] = [
  ['received', 'Messages'],
  ['errors', 'Errors'],
  ['p50', 'p50'],
  ['p95', 'p95'],
  ['p99', 'p99'],
];

const errorsOf = ({ failed, received }: EventRow): number => (received === 0 ? 0 : failed / received);
const valueOf = (row: EventRow, by: Column): number | string => (by === 'errors' ? errorsOf(row) : (row[by] ?? -1));

export function Events(): JSX.Element {
  const store = useStore();
  const { value = [], problem } = usePolled(() => store.client.request('ws-gateway.events'));
  const [text, setText] = useState('');
  const [by, setBy] = useState<Column>('received');
  const rows = value
    .filter(({ event }) => event.toLowerCase().includes(text.toLowerCase()))
    .toSorted((a, b) => {
      const [first, second] = [valueOf(a, by), valueOf(b, by)];
      return typeof first === 'string' ? first.localeCompare(String(second)) : Number(second) - first;
    });
  const header = (column: Column, title: string): JSX.Element => (
    <th
      scope="col"
      key={column}
      class={column === 'event' ? '' : 'end'}
      aria-sort={by === column ? (column === 'event' ? 'ascending' : 'descending') : 'none'}
    >
      <button type="button" onClick={() => setBy(column)}>
        {title}
        {by === column && (column === 'event' ? ' ▲' : ' ▼')}
      </button>
    </th>
  );
  return (
    <section class="card" aria-label="Events">
      <div class="row form">
        <label class="grow">
          Search events
          <input data-search value={text} onInput={(event) => setText(event.currentTarget.value)} />
        </label>
        <span class="muted">Since the start of the process</span>
      </div>
      {problem !== undefined && <p class="bad">{problem}</p>}
      <div class="scroll" tabIndex={0} role="region" aria-label="Events with their numbers">
        <table>
          <thead>
            <tr>
              {header('event', 'Event')}
              <th scope="col">Who may</th>
              {COLUMNS.map(([column, title]) => header(column, title))}
              <th scope="col">Last error</th>
              <th scope="col">15 minutes</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={`${row.path} ${row.event}`}>
                <td>
                  <a
                    class="mono"
                    href={`#/playground?event=${encodeURIComponent(row.event)}&path=${encodeURIComponent(row.path)}`}
                  >
                    {row.event}
                  </a>
                  <div class="muted mono">{row.path}</div>
                </td>
                <td>
                  {accessOf(row)}
                  {row.limit !== null && <div class="muted">{`${row.limit.limit} in ${span(row.limit.perMs)}`}</div>}
                </td>
                <td class="end">{count(row.received)}</td>
                <td class={`end ${row.failed > 0 ? 'bad' : ''}`}>
                  {row.failed > 0 && errorsOf(row) < 0.0005 ? '< 0.1 %' : percent(errorsOf(row))}
                </td>
                <td class="end nowrap">{ms(row.p50)}</td>
                <td class="end nowrap">{ms(row.p95)}</td>
                <td class="end nowrap">{ms(row.p99)}</td>
                <td>
                  {row.lastCode !== null && (
                    <a href={`#/failures?code=${encodeURIComponent(row.lastCode)}`}>{row.lastCode}</a>
                  )}
                </td>
                <td class="course">
                  <Spark values={row.spark} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
        {rows.length === 0 && <p class="empty">No event matches.</p>}
      </div>
    </section>
  );
}

/** Who may send it, in words. */
export function accessOf({ isPublic, roles, scopes, hasRules }: EventRow): string {
  if (isPublic) return 'anyone, without a token too';
  const needs = [
    ...roles.map((list) => `role ${list.join(' or ')}`),
    ...(scopes.length > 0 ? [`scope ${scopes.join(' and ')}`] : []),
    ...(hasRules ? ['a rule of the application'] : []),
  ];
  return needs.length === 0 ? 'any session that is signed in' : needs.join(', ');
}
