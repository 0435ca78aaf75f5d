import type { JSX } from 'preact';
import { bytes, count, span } from '../format.js';
import { usePolled, useStore } from '../hooks.js';
import { Table } from '../table.js';

/** What a state of the cluster means. */
const STATES: Readonly<Record<string, string>> = {
  single: 'this one: nothing is shared',
  starting: 'starting: it does not know yet what the others know',
  live: 'live: what one knows, all know',
  blind: 'blind: Redis cannot be seen now',
};

export function Rooms(): JSX.Element {
  const store = useStore();
  const { value, problem } = usePolled(() => store.client.request('ws-gateway.rooms'));
  if (value === undefined) return <p class={problem === undefined ? 'muted' : 'bad'}>{problem ?? 'Asking…'}</p>;
  const tiles: [string, string, string][] = [
    ['Rooms', count(value.rooms), 'with members'],
    ['Memberships', count(value.memberships), 'of all sessions'],
    ['History', count(value.historyMessages), `messages, ${bytes(value.historyBytes)}`],
    ['Nodes', count(value.nodes.length), STATES[value.state] ?? value.state],
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
        title="Nodes"
        head={['Node', 'Version', 'Up', 'Heard of', 'Sessions', 'Rooms']}
        rows={value.nodes.map((node) => [
          `${node.name}${node.isHere ? ' (this one)' : ''}`,
          node.version,
          span(store.now - node.startedAt),
          node.isHere ? 'now' : `${span(store.now - node.seenAt)} ago`,
          count(node.sessions),
          count(node.rooms),
        ])}
        none="No node is known."
      />
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
