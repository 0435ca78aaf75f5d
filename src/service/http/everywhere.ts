import { Inject, Injectable } from '@nestjs/common';
import { CLUSTER } from '../../engine/cluster.js';
import type { Cluster } from '../../engine/cluster.js';
import type { ErrorCode } from '../../protocol/errors.js';
import { Subscriptions } from '../../rooms/subscriptions.js';
import { WsSessions } from '../../session/ws-sessions.js';
import type { SessionPage, SessionQuery } from '../../session/ws-sessions.js';

/** A session, or all of a subject. */
export type Whose = { readonly sessionId: string } | { readonly subject: string };

/** A session as an administrator sees it. */
export interface SessionItem {
  readonly id: string;
  /** Null while it is anonymous. */
  readonly subject: string | null;
  readonly clientAddress: string;
  /** Epoch milliseconds. */
  readonly connectedAt: number;
  /** Epoch milliseconds; null while it is anonymous. */
  readonly expiresAt: number | null;
  /** Id of its node, where a cluster is configured. */
  readonly node?: string;
}

/** Ids of the nodes that have not answered; absent on one node. */
interface Missing {
  readonly missing?: readonly string[];
}

/** Sessions that have come into a channel, or left it. */
export interface InChannel extends Missing {
  readonly sessions: number;
}

interface Page {
  readonly items: readonly SessionItem[];
  readonly next?: string;
}

/** What administrators and backends do to sessions, on whichever nodes these are. */
@Injectable()
export class Everywhere {
  constructor(
    @Inject(CLUSTER) private readonly cluster: Cluster,
    private readonly sessions: WsSessions,
    private readonly subscriptions: Subscriptions,
  ) {
    const { questions } = cluster;
    // because a node of this cluster asks, by the methods below
    questions.onAsk('disconnect', (asked) => {
      const [whose, code] = asked as [Whose, ErrorCode | null];
      return this.#disconnect(whose, code ?? undefined); // JSON has no undefined
    });
    questions.onAsk('subscribe', (asked) => this.#subscribe(...(asked as [Whose, string])).count);
    questions.onAsk('unsubscribe', (asked) => this.#unsubscribe(...(asked as [Whose, string])));
    questions.onAsk('sessions', (asked) => {
      const [node, query] = asked as [string, SessionQuery];
      return node === this.cluster.nodeId ? this.#list(query) : undefined;
    });
  }

  /** @returns how many sessions were ended */
  async disconnect(whose: Whose, code: ErrorCode | undefined): Promise<{ ended: number } & Missing> {
    const { count, ...missing } = await this.#sum('disconnect', [whose, code], this.#disconnect(whose, code));
    return { ended: count, ...missing };
  }

  /** @returns how many sessions have come into the channel, and why one of this node has not */
  async subscribe(whose: Whose, channel: string): Promise<{ done: InChannel; refused: unknown }> {
    const own = this.#subscribe(whose, channel);
    const { count, ...missing } = await this.#sum('subscribe', [whose, channel], own.count);
    return { done: { sessions: count, ...missing }, refused: own.refused };
  }

  async unsubscribe(whose: Whose, channel: string): Promise<InChannel> {
    const { count, ...missing } = await this.#sum('unsubscribe', [whose, channel], this.#unsubscribe(whose, channel));
    return { sessions: count, ...missing };
  }

  /** Node by node; a page has sessions of one node alone, and there may be another page behind one that is not full. */
  async list({ cursor, ...query }: SessionQuery): Promise<Page & Missing> {
    const [last = ''] = cursor?.split('.').slice(-1) ?? [];
    const asked = { ...query, ...(last !== '' && { cursor: last }) };
    if (this.cluster.state === 'single') return this.#list(asked);
    const nodes = this.cluster.nodes().map(({ id }) => id);
    const [node = nodes[0] ?? this.cluster.nodeId] = cursor?.split('.') ?? [];
    const { items, next: rest, missing } = await this.#listOf(node, asked);
    const after = nodes[nodes.indexOf(node) + 1];
    const next = rest === undefined ? after && `${after}.` : `${node}.${rest}`;
    return { items: items.map((item) => ({ ...item, node })), ...(next !== undefined && { next }), missing };
  }

  /** A page of the sessions of one node; all nodes hear the question, and only that one answers with a page. */
  async #listOf(node: string, query: SessionQuery): Promise<Page & Required<Missing>> {
    if (node === this.cluster.nodeId) return { ...this.#list(query), missing: [] };
    const { answers, missing } = await this.cluster.questions.ask('sessions', [node, query]);
    const page = answers.find((one) => one !== undefined && one !== null) as Page | undefined; // because a node of this cluster answers
    return { ...(page ?? { items: [] }), missing: missing.filter((id) => id === node) };
  }

  async #sum(name: string, payload: unknown, own: number): Promise<{ count: number } & Missing> {
    if (this.cluster.state === 'single') return { count: own };
    const { answers, missing } = await this.cluster.questions.ask(name, payload);
    return { count: answers.reduce((sum: number, count) => sum + Number(count), own), missing };
  }

  #disconnect(whose: Whose, code: ErrorCode | undefined): number {
    const sessions = this.sessions.find(whose);
    for (const session of sessions) session.close(code);
    return sessions.length;
  }

  #subscribe(whose: Whose, channel: string): { count: number; refused: unknown } {
    let refused: unknown;
    let count = 0;
    for (const session of this.sessions.find(whose)) {
      try {
        if (session.join(channel)) count++;
      } catch (error) {
        refused = error;
      }
    }
    return { count, refused };
  }

  #unsubscribe(whose: Whose, channel: string): number {
    return this.subscriptions.expel(this.sessions.find(whose), channel);
  }

  #list(query: SessionQuery): Page {
    const { items, next }: SessionPage = this.sessions.list(query);
    return {
      items: items.map(({ id, principal, clientAddress, connectedAt }) => ({
        id,
        subject: principal?.subject ?? null,
        clientAddress,
        connectedAt,
        expiresAt: principal?.expiresAt ?? null,
      })),
      ...(next !== undefined && { next }),
    };
  }
}
