/** A node, as the others see it. */
export interface NodeInfo {
  /** Random, made at each start. */
  readonly id: string;
  /** `cluster.node`; several nodes may have the same. */
  readonly name: string;
  /** Of the package. */
  readonly version: string;
  /** Epoch milliseconds. */
  readonly startedAt: number;
  readonly sessions: number;
  readonly rooms: number;
  /** When it was last heard of, in epoch milliseconds. */
  readonly seenAt: number;
}

/**
 * `single`: one node, without `cluster.redis`. `starting`: it does not know yet what the others know. `live`: it knows. `blind`: Redis
 * cannot be seen, or is being told again what it has lost.
 */
export type ClusterState = 'single' | 'starting' | 'live' | 'blind';

/** The nodes, as this one sees them. Injectable anywhere; there is one node where no cluster is configured. */
export abstract class WsCluster {
  abstract readonly nodeId: string;
  abstract readonly state: ClusterState;
  /** The living nodes, this one included. One that has died is listed until its lease is over. */
  abstract nodes(): readonly NodeInfo[];
}
