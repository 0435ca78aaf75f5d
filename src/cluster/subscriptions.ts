import type { Redis } from 'ioredis';
import type { WsClock } from '../base/clock.js';
import type { Link } from './links.js';

/** Topics of one SUBSCRIBE. */
const AT_ONCE = 512;

/** How long a topic stays subscribed that is no longer wanted, in milliseconds: clients that come back at once cause no traffic. */
const LINGER_MS = 10_000;

/** How often the node speaks to itself, and how long it may not hear that, in milliseconds. */
const PROBE_MS = 1_000;
const DEAF_MS = 2_000;

interface Topic {
  /** Resolves with false when the connection is lost before. */
  readonly subscribed: Promise<boolean>;
  readonly settle: (isSubscribed: boolean) => void;
  isSubscribed: boolean;
  /** In monotonic milliseconds; undefined while it is wanted. */
  leftAt: number | undefined;
}

/**
 * Which topics this node hears. The table is the truth, not what the connection believes: after each connection, and when the node does
 * not hear itself, all of them are subscribed anew.
 */
export class Subscriptions {
  readonly #topics = new Map<string, Topic>();
  /** Those to subscribe at the end of the turn. */
  #wanted: string[] = [];
  #heardAt = 0;
  #probedAt = 0;
  #isUp = false;

  /**
   * @param mailbox a topic of this node alone
   * @param probe publishes to it by the ordinary path; resolves with how many have heard it
   * @param back called when all topics are heard again, since messages were missed
   */
  constructor(
    private readonly link: Link,
    private readonly mailbox: string,
    private readonly probe: () => Promise<number>,
    deliver: (topic: string, frame: string) => void,
    /** Called with what other nodes write to the mailbox. */
    receive: (text: string) => void,
    private readonly back: () => void,
    private readonly clock: Pick<WsClock, 'monotonic'>,
  ) {
    const { client } = link;
    client.on('message', (topic: string, frame: string) => {
      if (topic !== mailbox) return deliver(topic, frame);
      this.#heardAt = this.clock.monotonic();
      if (frame !== '') receive(frame);
    });
    client.on('ready', () => void this.#connected());
    client.on('close', () => this.#lost());
    client.on('end', () => this.#lost());
    if (link.isReady) void this.#connected();
  }

  /** True while the node hears what it has subscribed to. */
  get isUp(): boolean {
    return this.#isUp;
  }

  has(topic: string): boolean {
    return this.#topics.get(topic)?.isSubscribed === true;
  }

  /** @returns true where it is heard already; else a promise that is false when the connection is lost before */
  subscribe(topic: string): true | Promise<boolean> {
    const known = this.#topics.get(topic);
    if (known !== undefined) {
      known.leftAt = undefined;
      return known.isSubscribed || known.subscribed;
    }
    const made = fresh();
    this.#topics.set(topic, made);
    if (this.#wanted.push(topic) === 1) setImmediate(() => this.#subscribeWanted());
    return made.subscribed;
  }

  /** What subscribe() has promised; undefined for a topic that is not wanted. */
  subscribed(topic: string): Promise<boolean> | undefined {
    return this.#topics.get(topic)?.subscribed;
  }

  /** It is not wanted any more. */
  leave(topic: string): void {
    const known = this.#topics.get(topic);
    if (known !== undefined) known.leftAt = this.clock.monotonic();
  }

  /** @param gone called with each topic that is no longer heard */
  sweep(now: number, gone: (topic: string) => void): void {
    const over: string[] = [];
    for (const [topic, { leftAt }] of this.#topics) {
      if (leftAt === undefined || now - leftAt < LINGER_MS) continue;
      this.#topics.delete(topic);
      over.push(topic);
      gone(topic);
    }
    for (let from = 0; this.#isUp && from < over.length; from += AT_ONCE) {
      void this.#call('unsubscribe', over.slice(from, from + AT_ONCE)).catch(() => this.reconnect());
    }
    if (this.#isUp && now - this.#probedAt >= PROBE_MS) void this.#listen(now);
  }

  /** The connection is not what it seems to be. */
  reconnect(): void {
    this.#lost();
    this.link.client.disconnect(true);
  }

  async #listen(now: number): Promise<void> {
    this.#probedAt = now;
    try {
      const heard = await this.probe();
      // A connection to a demoted master is healthy, and hears nothing.
      if (heard === 0 || this.clock.monotonic() - this.#heardAt > DEAF_MS) this.reconnect();
    } catch {
      this.#heardAt = this.clock.monotonic(); // Redis did not answer: that says nothing of this connection
    }
  }

  async #connected(): Promise<void> {
    try {
      this.#heardAt = this.clock.monotonic();
      const topics = [...this.#topics.keys()];
      await this.#call('subscribe', [this.mailbox]);
      for (let from = 0; from < topics.length; from += AT_ONCE) await this.#take(topics.slice(from, from + AT_ONCE));
      this.#isUp = true;
      this.#subscribeWanted();
      this.back();
    } catch {
      if (this.link.isReady) this.reconnect();
    }
  }

  #lost(): void {
    this.#isUp = false;
    for (const [name, topic] of this.#topics) {
      if (topic.isSubscribed) this.#topics.set(name, { ...fresh(), leftAt: topic.leftAt });
    }
  }

  #subscribeWanted(): void {
    if (!this.#isUp) return; // all are subscribed when it is
    const wanted = this.#wanted.splice(0).filter((topic) => this.#topics.get(topic)?.isSubscribed === false);
    for (let from = 0; from < wanted.length; from += AT_ONCE) {
      void this.#take(wanted.slice(from, from + AT_ONCE)).catch(() => this.reconnect());
    }
  }

  async #take(topics: readonly string[]): Promise<void> {
    await this.#call('subscribe', topics);
    for (const name of topics) {
      const topic = this.#topics.get(name);
      if (topic === undefined) continue;
      topic.isSubscribed = true;
      topic.settle(true);
    }
  }

  async #call(act: 'subscribe' | 'unsubscribe', topics: readonly string[]): Promise<void> {
    // because the two classes of ioredis declare the same methods in overloads that no union can be called by
    await (this.link.client as Redis)[act](...topics);
  }
}

function fresh(): Topic {
  let settle: (isSubscribed: boolean) => void = () => undefined;
  const subscribed = new Promise<boolean>((resolve) => (settle = resolve));
  return { subscribed, settle, isSubscribed: false, leftAt: undefined };
}
