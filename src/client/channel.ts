/** A place in a channel's history. */
export interface Position {
  readonly epoch: string;
  readonly offset: number;
}

/**
 * What came before may not be whole: a page that shows state loads it anew after `reloadAfterMs`. Without a position where the
 * channel has no history.
 */
export interface Gap extends Partial<Position> {
  readonly reason: 'epoch' | 'window' | 'limit';
  readonly reloadAfterMs: number;
}

export interface ChannelMember {
  readonly sessionId: string;
  readonly subject: string;
  /** Epoch milliseconds. */
  readonly since: number;
}

export interface PresenceCount {
  readonly sessions: number;
  readonly subjects: number;
}

/** A page of the members, the newest first. */
export interface Presence {
  readonly count: PresenceCount;
  readonly members: readonly ChannelMember[];
  /** The `cursor` of the next page. */
  readonly next?: string;
}

/** What the server says of a channel itself. */
export interface ChannelEvents {
  gap: Gap;
  /** At most once a second. */
  'presence.changed': {
    readonly joined: readonly ChannelMember[];
    readonly left: readonly ChannelMember[];
    readonly count: PresenceCount;
  };
  /** The client is no subscriber any more, or could not become one. With `resubscribe` it tries again by itself. */
  unsubscribed: { readonly code: string; readonly message: string; readonly resubscribe: boolean };
}

/** A message of a channel, with its offset where there is a history. */
export interface ChannelMessage<Data = unknown> {
  readonly event: string;
  readonly data: Data;
  readonly offset?: number | undefined;
}

export interface ChannelOptions {
  /** The last position that the application has: what was published since then comes first. */
  readonly since?: Position | undefined;
}

/** One channel. It is subscribed to with the first listener and left with the last, and comes back after a lost connection. */
export interface Channel<Events extends object = Record<string, unknown>> {
  readonly name: string;
  /** Of the newest message; for `since`. Undefined without a history. */
  readonly position: Position | undefined;
  on<E extends keyof (Events & ChannelEvents) & string>(
    event: E,
    listener: (data: (Events & ChannelEvents)[E], message: ChannelMessage) => void,
  ): () => void;
  /** All messages, those of the channel itself with them. The reader gets the reason when it cannot go on. */
  [Symbol.asyncIterator](): AsyncIterableIterator<ChannelMessage>;
  /**
   * @param options.key the same key is published once, also where it is asked twice: then a lost connection does no harm
   * @param options.echo false: not to this client
   */
  publish<E extends keyof Events & string>(
    event: E,
    data?: Events[E],
    options?: { readonly key?: string; readonly echo?: boolean },
  ): Promise<Partial<Position> & { readonly duplicate?: true }>;
  presence(page?: { readonly limit?: number; readonly cursor?: string }): Promise<Presence>;
  /** Ends the listeners that were given here. */
  close(): void;
}
