import type { JSX } from 'preact';
import { bytes, count } from '../format.js';
import { useConsole, usePolled, useStore } from '../hooks.js';
import { Table } from './firewall.js';

export function Rooms(): JSX.Element {
  const store = useStore();
  const { about } = useConsole(store);
  const { value, problem } = usePolled(() => store.client.request('ws-gateway.rooms'));
  if (value === undefined) return <p class={problem === undefined ? 'muted' : 'bad'}>{problem ?? 'Asking…'}</p>;
  const tiles: [string, string, string][] = [
    ['Rooms', count(value.rooms), 'with members'],
    ['Memberships', count(value.memberships), 'of all sessions'],
    ['History', count(value.historyMessages), `messages, ${bytes(value.historyBytes)}`],
    ['Node', about?.node ?? '', 'the only one: nothing is shared'],
  ];
  return (
    <>
      <section class="tiles four" aria-label="Now">
        {tiles.map(([title, number, note]) => (
          <div class="card tile" key={title}>
            <h2 class="muted">{title}</h2>
            <div class="value">{number}</div>
            <div class="note">{note}</div>
          </div>
        ))}
      </section>
      <Table
        title="Messages by rule"
        head={['Rule', 'Published', 'Deliveries', 'Members each']}
        rows={value.rules.map(({ rule, published, delivered }) => [
          rule,
          count(published),
          count(delivered),
          published === 0 ? '–' : count(delivered / published),
        ])}
        none="Nothing has been published in a room."
      />
    </>
  );
}
