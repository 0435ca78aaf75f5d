import type { WsClock } from '../base/clock.js';
import type { Body } from '../engine/engine.js';

/** What a message costs beside its text, in bytes. */
const MESSAGE_BYTES = 96;

/** A message without history, and how it is delivered. */
export interface Line {
  readonly how: string;
  readonly text: string;
}

/** Messages of one topic and one turn of the event loop. */
export interface Parcel {
  readonly topic: string;
  readonly messages: Line[];
  bytes: number;
  /** In monotonic milliseconds. */
  readonly at: number;
}

export interface QueueLimits {
  readonly maxQueuedBytes: number;
  readonly maxQueuedMs: number;
}

/** Messages without history on their way to Redis, in their order. While it cannot be reached they wait, and the oldest are dropped. */
export class Outbox {
  /** By topic, in the order of the turn. */
  #turn = new Map<string, Parcel>();
  /** The oldest first. */
  #queue: Parcel[] = [];
  #queuedBytes = 0;
  #dropped = 0;

  /** @param send rejects for what may have been sent, and is not sent again */
  constructor(
    private readonly send: (parcel: Parcel) => Promise<void>,
    private readonly isReachable: () => boolean,
    private readonly limits: QueueLimits,
    private readonly clock: Pick<WsClock, 'monotonic'>,
  ) {}

  /** Messages that no other node was sent. */
  get dropped(): number {
    return this.#dropped;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** It leaves with {@link flush}. */
  add(topic: string, how: string, body: Body): void {
    let parcel = this.#turn.get(topic);
    if (parcel === undefined) {
      parcel = { topic, messages: [], bytes: 0, at: this.clock.monotonic() };
      this.#turn.set(topic, parcel);
    }
    parcel.messages.push({ how, text: body.text });
    parcel.bytes += costOf(body);
  }

  /** The end of a turn. */
  flush(): void {
    const turn = this.#turn;
    this.#turn = new Map();
    for (const parcel of turn.values()) this.#sendOrEnqueue(parcel);
  }

  /** @param now in monotonic milliseconds */
  sweep(now: number): void {
    for (let oldest = this.#queue[0]; oldest !== undefined; [oldest] = this.#queue) {
      if (now - oldest.at < this.limits.maxQueuedMs) break;
      this.#drop();
    }
    if (this.#queue.length === 0 || !this.isReachable()) return;
    const queue = this.#queue;
    this.#queue = [];
    this.#queuedBytes = 0;
    for (const parcel of queue) this.#sendOrEnqueue(parcel);
  }

  #sendOrEnqueue(parcel: Parcel): void {
    // Behind one that waits all wait, so that they stay in order.
    if (this.#queue.length > 0 || !this.isReachable()) return this.#enqueue(parcel);
    this.send(parcel).catch(() => (this.#dropped += parcel.messages.length));
  }

  #enqueue(parcel: Parcel): void {
    this.#queue.push(parcel);
    this.#queuedBytes += parcel.bytes;
    while (this.#queuedBytes > this.limits.maxQueuedBytes) this.#drop();
  }

  #drop(): void {
    const oldest = this.#queue.shift();
    if (oldest === undefined) return;
    this.#queuedBytes -= oldest.bytes;
    this.#dropped += oldest.messages.length;
  }
}

export function costOf({ bytes }: Body): number {
  return bytes + MESSAGE_BYTES;
}
