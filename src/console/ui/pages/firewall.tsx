import { useState } from 'preact/hooks';
import type { JSX } from 'preact';
import type { FirewallReply } from '../../wire.js';
import { count, span } from '../format.js';
import { usePolled, useStore } from '../hooks.js';
import { sentenceOf } from '../store.js';
import { Head, Table } from '../table.js';

const HOUR_MS = 3_600_000;

export function Firewall(): JSX.Element {
  const store = useStore();
  const { value, problem, again } = usePolled(() => store.client.request('ws-gateway.firewall'));
  const [note, setNote] = useState<string | undefined>(undefined);
  const act = async (work: Promise<unknown>, done: string): Promise<void> => {
    setNote(await work.then(() => done, sentenceOf));
    again();
  };
  if (value === undefined) return <p class={problem === undefined ? 'muted' : 'bad'}>{problem ?? 'Asking…'}</p>;
  return (
    <>
      <section class="card" aria-label="Bans">
        <h2>{`Bans${value.banCount === 0 ? '' : ` (${count(value.banCount)})`}`}</h2>
        <p role="status" class="muted">
          {note}
        </p>
        <Bans
          bans={value.bans}
          lift={(id) => void act(store.client.request('ws-gateway.unban', { id }), 'The ban is lifted.')}
        />
        <BanForm
          ban={({ kind, target, hours, reason }) =>
            void act(
              store.client.request('ws-gateway.ban', {
                ...(kind === 'address' ? { address: target } : { subject: target }),
                forMs: Math.round(hours * HOUR_MS),
                ...(reason !== '' && { reason }),
              }),
              'Banned; its sessions have ended.',
            )
          }
        />
      </section>
      <div class="two">
        <Table
          title="Addresses that fail most"
          head={['Address', 'Failures']}
          rows={value.addresses.map(({ address, failures }) => [address, count(failures)])}
          none="No address has failed."
        />
        <div class="stack">
          <Table
            title="Budgets used up"
            head={['Budget', 'Refused', 'In a dry run']}
            rows={value.budgets.map(({ budget, enforced, dry }) => [budget, count(enforced), count(dry)])}
            none="No budget has been used up."
          />
          <Table
            title="Dry run: would have refused"
            head={['Rule', 'Upgrades']}
            rows={value.dryRuns.map(({ rule, count: refused }) => [rule, count(refused)])}
            none="No rule in a dry run would have refused an upgrade."
          />
          <Table
            title="Lists"
            head={['List', 'Entries']}
            rows={(['allow', 'deny', 'exempt'] as const).map((name) => [
              name,
              value.lists[name].length === 0 ? 'empty' : value.lists[name].slice(0, 20).join(', '),
            ])}
            none=""
          />
        </div>
      </div>
    </>
  );
}

function Bans({ bans, lift }: { bans: FirewallReply['bans']; lift(id: string): void }): JSX.Element {
  const { now } = useStore();
  if (bans.length === 0) return <p class="empty">Nobody is banned.</p>;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Bans, the oldest first">
      <table>
        <thead>
          <Head names={['Whom', 'Kind', 'Reason', 'Left']} hasAct />
        </thead>
        <tbody>
          {bans.map(({ id, kind, target, reason, until, isDry }) => (
            <tr key={id}>
              <td class="mono">{target}</td>
              <td>{kind}</td>
              <td>
                {reason}
                {isDry && <span class="warn"> (dry run)</span>}
              </td>
              <td class="nowrap">{until === null ? 'until it is lifted' : span(until - now)}</td>
              <td>
                <button type="button" class="quiet" aria-label={`Lift the ban of ${target}`} onClick={() => lift(id)}>
                  Lift
                </button>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface Ban {
  readonly kind: 'address' | 'subject';
  readonly target: string;
  readonly hours: number;
  readonly reason: string;
}

function BanForm({ ban }: { ban(what: Ban): void }): JSX.Element {
  const [what, set] = useState<Ban>({ kind: 'address', target: '', hours: 1, reason: '' });
  const submit = (event: Event): void => {
    event.preventDefault();
    ban({ ...what, target: what.target.trim() });
    set({ ...what, target: '', reason: '' });
  };
  return (
    <form class="row form" onSubmit={submit} aria-label="Ban">
      <label>
        Ban
        <select
          value={what.kind}
          onChange={(event) => set({ ...what, kind: event.currentTarget.value as Ban['kind'] })}
        >
          <option>address</option>
          <option>subject</option>
        </select>
      </label>
      <label class="grow">
        Whom
        <input required value={what.target} onInput={(event) => set({ ...what, target: event.currentTarget.value })} />
      </label>
      <label>
        Hours
        <input
          type="number"
          min="0.1"
          max="8760"
          step="0.1"
          value={what.hours}
          onInput={(event) => set({ ...what, hours: Number(event.currentTarget.value) })}
        />
      </label>
      <label class="grow">
        Reason
        <input
          maxLength={200}
          value={what.reason}
          onInput={(event) => set({ ...what, reason: event.currentTarget.value })}
        />
      </label>
      <button class="danger">Ban</button>
    </form>
  );
}
