/** Token of {@link Facts} in the container. */
export const FACTS = Symbol('nestjs-ws-gateway.facts');

/** Whom a fact is for, and whose place it takes: each topic has its own bound. */
export type FactTopic = 'revocation' | 'firewall';

/** What one node has decided and every node has to know: a revocation, a ban, a list. */
export interface Fact {
  readonly topic: FactTopic;
  /** What it is about: of two facts with one key, one is kept. */
  readonly key: string;
  /** The fact with the greater rank is kept; without one, the later. Every node hears of both. */
  readonly rank?: number;
  /** It may be forgotten then; epoch milliseconds of this node's clock. */
  readonly until: number;
  /** Any JSON value. */
  readonly data: unknown;
  /** True for one that a stranger can bring about: it takes no place that an operator may need. */
  readonly isAutomatic?: boolean;
}

/** What has become of a fact on the other nodes. */
export interface Reached {
  /** What the nodes that have applied it say, the own node not among them. */
  readonly answers: readonly number[];
  /** Ids of the nodes that have not answered in time. */
  readonly missing: readonly string[];
}

/**
 * Applies a fact that another node has decided. It may be called twice with one fact, and long after it was decided.
 *
 * @returns what is answered to the node that asks; a promise where facts have followed from it
 */
export type FactListener = (fact: Fact) => number | Promise<number>;

/** What all nodes know, in one order. Where there is one node it tells no other, and answers at once. */
export interface Facts {
  /** One listener for each topic. */
  listen(topic: FactTopic, listener: FactListener): void;
  /** One listener for each name: something that is over when it was heard, and that an empty Redis need not know. */
  onNotice(name: string, listener: (value: string) => void): void;
  /**
   * Tells what this node has decided, and applied. When it resolves, each handshake that begins later on any node finds it applied.
   *
   * @param isAsked true to wait for what the other nodes answer to the first of them, a second at most
   * @returns undefined on one node
   * @throws as a rejection, GatewayError UNAVAILABLE: it is kept, and told when it can be; OVERLOADED when the topic is full
   */
  record(facts: readonly Fact[], isAsked?: boolean): undefined | Promise<Reached>;
  /**
   * Resolves when this node knows all facts that were recorded before the call.
   *
   * @returns undefined where it does already
   * @throws as a rejection, GatewayError UNAVAILABLE when that cannot be known within two seconds, and `cluster.admission` is closed
   */
  barrier(): undefined | Promise<void>;
}
