import { randomUUID } from 'node:crypto';
import type { WsClock } from '../base/clock.js';
import type { Engine } from './engine.js';
import type { Facts } from './facts.js';
import type { ClusterState, NodeInfo } from './ws-cluster.js';
import { WsCluster } from './ws-cluster.js';

/** Token of {@link Cluster} in the container. */
export const CLUSTER = Symbol('nestjs-ws-gateway.cluster');
/** Token of {@link SharedTickets}, undefined on one node. */
export const SHARED_TICKETS = Symbol('nestjs-ws-gateway.shared-tickets');
/** Token of {@link ClusterTimes}. */
export const CLUSTER_TIMES = Symbol('nestjs-ws-gateway.cluster-times');

/** How long what takes; all in milliseconds. They are what the documentation promises, so only tests have others. */
export interface ClusterTimes {
  /** The control log answers at least so often. */
  readonly readMs: number;
  /** A node that has not read the control log for so long is blind. */
  readonly blindMs: number;
  /** How long a handshake waits for the facts. */
  readonly doorMs: number;
  /** How long the nodes have to tell a Redis what it has lost. */
  readonly settleMs: number;
  /** How long an answer of another node is waited for. */
  readonly answerMs: number;
}

export const CLUSTER_TIMING: ClusterTimes = {
  readMs: 500,
  blindMs: 1_500,
  doorMs: 2_000,
  settleMs: 3_000,
  answerMs: 1_000,
};

/** Tickets that every node can redeem. */
export interface SharedTickets {
  /** @throws as a rejection, when it may not have been stored */
  put(digest: string, ticket: string, ttlMs: number): Promise<void>;
  /** @returns undefined for one that is unknown, was taken, or is of a Redis that has lost its place since */
  take(digest: string): Promise<string | undefined>;
}

/** Token of {@link SessionClaims}, undefined on one node. */
export const SESSION_CLAIMS = Symbol('nestjs-ws-gateway.session-claims');

/** Which sessions a subject has on all nodes. */
export interface SessionClaims {
  /** False while the other nodes cannot be asked. */
  readonly isShared: boolean;
  /**
   * Takes a slot. What is too much on other nodes ends there.
   *
   * @param since when the session began, in epoch milliseconds, for one that is claimed anew; default: now
   * @returns ids of the sessions of this node that are too much
   * @throws as a rejection, GatewayError SESSION_LIMIT
   */
  claim(
    subject: string,
    sessionId: string,
    limit: number,
    refusesNew: boolean,
    since?: number,
  ): Promise<readonly string[]>;
  /** It is given back now, or when Redis can be reached. */
  release(subject: string, sessionId: string): void;
}

/** What the other nodes have answered. */
export interface Answers {
  readonly answers: readonly unknown[];
  /** Ids of the nodes that have not answered in time. */
  readonly missing: readonly string[];
}

/** What nodes ask each other. */
export interface NodeQuestions {
  /** @param handler answers with a JSON value; what it throws makes this node one that is missing */
  onAsk(name: string, handler: (payload: unknown) => unknown): void;
  /** Asks the other nodes, and waits a second at most. Never rejects. */
  ask(name: string, payload: unknown): Promise<Answers>;
}

/** The node that takes part. */
export interface LocalNode {
  sessions(): number;
  rooms(): number;
  /** The latest expiry of all tokens shown here, in epoch milliseconds. */
  latestExpiry(): number;
  /** Tokens that last so long are shown on other nodes. */
  noteLatestExpiry(until: number): void;
  /** Claims for all sessions what other nodes may have forgotten. Rejects where it has to be called again. */
  announce(): Promise<void>;
  /** Ends all sessions with UNAVAILABLE: the node has been blind for `cluster.endBlindAfterMs`. */
  endAll(): void;
}

/** The nodes, as the module runs them. */
export interface Cluster extends WsCluster {
  readonly facts: Facts;
  readonly tickets: SharedTickets | undefined;
  readonly claims: SessionClaims | undefined;
  readonly questions: NodeQuestions;
  /** Of rooms and channels; undefined on one node. */
  readonly engine: Engine | undefined;
  /** Why no client can be let in; undefined while they can. */
  readonly problem: string | undefined;
  /** What is wrong without keeping any client out. */
  readonly warning: string | undefined;
  /**
   * Resolves when the node knows what the others know, or after five seconds: it goes on trying then.
   *
   * @throws Error for what does not pass by itself, as a wrong password
   */
  start(local: LocalNode): void | Promise<void>;
  /** The node has no session any more. */
  stop(): void | Promise<void>;
}

const NOTHING: Facts = {
  listen: () => undefined,
  onNotice: () => undefined,
  record: () => undefined,
  barrier: () => undefined,
};

/** The only node: there is no other that it could tell or ask. */
export class OneNode extends WsCluster implements Cluster {
  readonly nodeId = randomUUID();
  readonly state: ClusterState = 'single';
  readonly facts = NOTHING;
  readonly tickets = undefined;
  readonly claims = undefined;
  readonly questions: NodeQuestions = {
    onAsk: () => undefined,
    ask: async () => ({ answers: [], missing: [] }),
  };
  readonly engine = undefined;
  readonly problem = undefined;
  readonly warning = undefined;
  readonly #startedAt: number;
  #local: LocalNode | undefined;

  constructor(
    private readonly name: string,
    private readonly version: string,
    private readonly clock: Pick<WsClock, 'now'>,
  ) {
    super();
    this.#startedAt = clock.now();
  }

  nodes(): readonly NodeInfo[] {
    const { nodeId: id, name, version } = this;
    const sessions = this.#local?.sessions() ?? 0;
    const rooms = this.#local?.rooms() ?? 0;
    return [{ id, name, version, startedAt: this.#startedAt, sessions, rooms, seenAt: this.clock.now() }];
  }

  start(local: LocalNode): void {
    this.#local = local;
  }

  stop(): void {}
}
