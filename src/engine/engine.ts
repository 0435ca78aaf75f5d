/**
 * What nodes share, as a port: `rooms/` knows this alone, and an engine knows no socket. One node has the memory engine. What an
 * engine of many nodes has to wait for it answers with a promise; one that has the answer returns it, and no promise is made.
 */

/** Token of the {@link Engine} in the container. */
export const ENGINE = Symbol('nestjs-ws-gateway.engine');

/** A place in the history of a channel. Offsets of one epoch rise by one; those of two say nothing about each other. */
export interface Position {
  readonly epoch: string;
  readonly offset: number;
}

/** How much of a channel is kept, by count and by age. */
export interface Window {
  readonly count: number;
  readonly ageMs: number;
}

/** A message as it is published: the text of its frame without the last brace, since an offset may follow. */
export interface Body {
  readonly text: string;
  /** UTF-8 bytes of the text. */
  readonly bytes: number;
}

/** What makes a publication one that was made before: the same key of the same owner in the same channel, within five minutes. */
export interface IdempotencyKey {
  readonly owner: string;
  readonly value: string;
}

export interface PublishHow {
  readonly history: Window | undefined;
  readonly key: IdempotencyKey | undefined;
  /** Ids of sessions that do not get it. */
  readonly except: readonly string[] | undefined;
  /** It is not for sessions that have much to read yet. */
  readonly volatile: boolean;
}

/** What became of a publication. */
export interface Sent {
  readonly cluster: 'single' | 'sent' | 'queued' | 'dropped';
  /** Of channels with history. */
  readonly position?: Position;
  /** It was published before, by the same key. */
  readonly duplicate?: true;
}

/** A message of a channel, at its node. */
export interface BusMessage {
  readonly channel: string;
  readonly body: Body;
  /** Of channels with history. */
  readonly offset: number | undefined;
  readonly except: readonly string[] | undefined;
  readonly volatile: boolean;
}

/** Why a position cannot be proven whole: another epoch, older than the window, or more than is replayed at once. */
export type GapReason = 'epoch' | 'window' | 'limit';

/** A message of the history. */
export interface Kept {
  readonly offset: number;
  readonly body: Body;
}

/** What a channel's history has behind a position. */
export interface Replay {
  /** The top: what is published next has the offset behind it. */
  readonly position: Position;
  /** True only when `messages` are all that was published since. */
  readonly recovered: boolean;
  /** Why not. */
  readonly reason?: GapReason;
  readonly messages: readonly Kept[];
}

/** The most that one reading of the history returns. */
export interface ReplayLimit {
  readonly messages: number;
  readonly bytes: number;
}

/** Whom a message is for that is of no channel: sessions of all nodes. */
export type Audience =
  | { readonly subject: string }
  | { readonly sessionId: string }
  /** All that have authenticated. */
  | { readonly everyone: true }
  /** The members of any of these rooms, each once. */
  | { readonly rooms: readonly string[]; readonly except: readonly string[] | undefined; readonly volatile: boolean };

/** The node that an engine serves. */
export interface LocalNode {
  /** Hands a message of another node to sessions of this node. It must not throw. */
  deliverTo(audience: Audience, text: string): void;
  /** Hands a message to the members of this node. It must not throw. */
  deliver(message: BusMessage): void;
  /** What came before this position cannot be proven whole for the members of this node. */
  gap(channel: string, position: Position, reason: GapReason): void;
}

export interface Bus {
  /** The node has members of the channel. Never throws or rejects. @returns true when messages of all nodes reach it */
  subscribe(channel: string): boolean | Promise<boolean>;
  /** The node has none any more. */
  unsubscribe(channel: string): void;
  /**
   * Publishes, and delivers to this node's members.
   *
   * @throws GatewayError CONFLICT for a key that was used with another body; UNAVAILABLE
   */
  publish(channel: string, body: Body, how: PublishHow): Sent | Promise<Sent>;
  /** Hands the text of a frame without its last brace to sessions of the other nodes. */
  sendTo(audience: Audience, body: Body): Sent['cluster'];
  /**
   * Reads the history behind a position, or without one its newest messages. Where the node has members of the channel, nothing is
   * left out between what is read and what is delivered: an engine that has to wait until it gets the messages of all nodes reads
   * after that. What is delivered meanwhile may be in the answer as well.
   *
   * @throws GatewayError UNAVAILABLE, also as a rejection
   */
  read(channel: string, since: Position | undefined, limit: ReplayLimit, window: Window): Replay | Promise<Replay>;
}

/** Numbers for metrics. */
export interface EngineStats {
  /** Messages that are kept as history, and what they hold in bytes. */
  readonly historyMessages: number;
  readonly historyBytes: number;
}

export interface Engine {
  readonly state: 'single' | 'starting' | 'live' | 'blind';
  readonly stats: EngineStats;
  readonly bus: Bus;
  start(local: LocalNode): void | Promise<void>;
  /** Lets go of what is past its time. @param now in monotonic milliseconds */
  sweep(now: number): void;
}
