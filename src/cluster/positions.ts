import type { BusMessage, LocalNode, Position, Replay } from '../engine/engine.js';
import type { Carried, Carrier, How } from './frame.js';

/** A replay that says how each message is delivered, since a repair delivers them. */
export interface KeptReplay extends Replay {
  readonly messages: readonly (Replay['messages'][number] & How)[];
}

/** Messages that one channel holds while a hole before them is read. */
const MAX_HELD = 1_000;

interface Place {
  /** Of the newest message that was delivered; undefined until there is one. */
  last: Position | undefined;
  /** What came behind a hole, while that is read. */
  held: Held[] | undefined;
  /** Readers of a top that is yet to be delivered. */
  waiting: Reader[] | undefined;
}

interface Reader {
  readonly top: Position;
  readonly reached: () => void;
}

interface Held {
  readonly at: Position;
  readonly message: Carried;
}

/**
 * Delivers the messages of channels with history in their order, without a hole: one that was missed is read once for all members of this
 * node, and none of them reconnects. What cannot be read any more is told as a gap.
 */
export class Positions {
  readonly #places = new Map<string, Place>();
  /** How many messages were missed and delivered after all, and how often one could not be. */
  repaired = 0;
  gaps = 0;

  /** @param read what follows a position, as far as it is kept; rejects while Redis cannot be asked */
  constructor(
    private readonly local: () => LocalNode | undefined,
    private readonly read: (channel: string, since: Position) => Promise<KeptReplay>,
  ) {}

  /** Channels with history whose place is known. */
  channels(): readonly string[] {
    return [...this.#places.keys()];
  }

  get size(): number {
    return this.#places.size;
  }

  forget(channel: string): void {
    const place = this.#places.get(channel);
    this.#places.delete(channel);
    for (const { reached } of place?.waiting ?? []) reached();
  }

  /**
   * A reader knows the top of the channel. Messages up to it may still be on their way to this node: one that is released before they are
   * delivered would get them twice.
   *
   * @returns undefined where they have been delivered
   */
  reach(channel: string, top: Position): Promise<void> | undefined {
    const place = this.#of(channel);
    place.last ??= top;
    if (hasReached(place.last, top)) return undefined;
    return new Promise((reached) => (place.waiting ??= []).push({ top, reached }));
  }

  #advance(place: Place, last: Position): void {
    place.last = last;
    if (place.waiting === undefined) return;
    for (const { top, reached } of place.waiting) if (hasReached(last, top)) reached();
    place.waiting = place.waiting.filter(({ top }) => !hasReached(last, top));
    if (place.waiting.length === 0) place.waiting = undefined;
  }

  take(channel: string, { epoch, messages }: Carrier): void {
    for (const message of messages) {
      if (epoch === undefined || message.offset === undefined) this.#deliver(channel, message);
      else this.#takeKept(channel, { epoch, offset: message.offset }, message);
    }
  }

  /** Compares with the top of a channel, for one that is quiet. */
  compare(channel: string, top: Position): void {
    const place = this.#places.get(channel);
    if (place?.last === undefined || place.held !== undefined) return;
    if (top.epoch !== place.last.epoch || top.offset > place.last.offset) void this.#repair(channel, place);
  }

  #of(channel: string): Place {
    let place = this.#places.get(channel);
    if (place === undefined)
      this.#places.set(channel, (place = { last: undefined, held: undefined, waiting: undefined }));
    return place;
  }

  #takeKept(channel: string, at: Position, message: Carried): void {
    const { epoch, offset } = at;
    const place = this.#of(channel);
    const { last } = place;
    if (place.held !== undefined) {
      // What does not fit is read as well.
      if (place.held.length < MAX_HELD) place.held.push({ at, message });
      return;
    }
    if (last?.epoch === epoch && offset <= last.offset) return;
    if (last === undefined || (last.epoch === epoch && offset === last.offset + 1)) {
      this.#deliver(channel, message);
      this.#advance(place, at);
      return;
    }
    place.held = [{ at, message }];
    void this.#repair(channel, place);
  }

  async #repair(channel: string, place: Place): Promise<void> {
    const { last } = place;
    if (last === undefined) return;
    place.held ??= [];
    try {
      const { position, recovered, reason = 'window', messages } = await this.read(channel, last);
      if (this.#places.get(channel) !== place) return;
      if (!recovered) {
        this.gaps++;
        this.local()?.gap(channel, position, reason);
      }
      for (const message of messages) {
        this.repaired++;
        this.#deliver(channel, message);
      }
      this.#advance(place, position);
      const held = place.held;
      place.held = undefined;
      // One of another epoch is of before Redis lost what it had.
      for (const { at, message } of held) if (at.epoch === position.epoch) this.#takeKept(channel, at, message);
    } catch {
      place.held = undefined; // the next comparison finds the hole again
    }
  }

  #deliver(channel: string, { body, offset, except, volatile }: BusMessage | Carried): void {
    this.local()?.deliver({ channel, body, offset, except, volatile });
  }
}

/** A top of another epoch is one that a gap tells of. */
function hasReached(last: Position, top: Position): boolean {
  return last.epoch === top.epoch && last.offset >= top.offset;
}
