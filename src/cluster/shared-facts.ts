import { isThenable } from '../base/thenable.js';
import { Faults } from '../base/contain.js';
import type { WsClock } from '../base/clock.js';
import type { ClusterTimes } from '../engine/cluster.js';
import type { Fact, FactListener, Facts, FactTopic, Reached } from '../engine/facts.js';
import { GatewayError } from '../protocol/errors.js';
import { unavailable } from '../protocol/unavailable.js';
import type { Link } from './links.js';
import { Door } from './door.js';
import { digestOf } from './names.js';
import type { Names } from './names.js';
import { pause } from './pause.js';
import { Questions } from './questions.js';
import { isAutomatic, isNewer, Replica } from './replica.js';
import type { Kept, Told } from './replica.js';
import { ANSWER, GATE, MARK, RECORD } from './scripts.js';
import { readFact, readLog, readScan, readSeen } from './replies.js';
import type { Entry, Seen } from './replies.js';

/** Facts of each topic: of all kinds, and of those that strangers can bring about. */
const BOUNDS: Readonly<Record<FactTopic, { most: number; automatic: number }>> = {
  revocation: { most: 100_000, automatic: 100_000 },
  firewall: { most: 20_000, automatic: 10_000 },
};
const TOPICS = Object.keys(BOUNDS) as FactTopic[]; // because those are its keys

/** Entries of one reading of the log, and facts of one step of a scan. */
const READ_AT_ONCE = 1_000;

/** Facts that Redis is told again at a time. */
const TOLD_AT_ONCE = 100;

const RETRY_MS = 50;
const SWEEP_MS = 10_000;

/** Facts that are no revocation of a token any more are kept so much longer in Redis: clocks of nodes differ. */
const MARGIN_MS = 60_000;

const ALONE: Reached = { answers: [], missing: [] };

/** Which nodes there are, as of when Redis had last lost nothing. */
interface Others {
  /** This node's id. */
  readonly id: string;
  /** Ids of the others. */
  others(): readonly string[];
  /** Another node has come, or goes. */
  changed(): void;
}

/**
 * The facts of all nodes: a log in Redis that each node reads, and a replica here. Facts that were recorded are merged, so that one is
 * applied twice without harm, and each node tells a Redis that has lost some what it knows.
 */
export class SharedFacts implements Facts {
  readonly #listeners = new Map<FactTopic, FactListener>();
  readonly #replica = new Replica();
  readonly #faults = new Faults('A fact of another node could not be applied');
  readonly #notices = new Map<string, (value: string) => void>();
  readonly #questions: Questions<number>;
  readonly #door: Door;
  #position = 0;
  /** The life of Redis that has been told all this node knows. */
  #life: string | undefined;
  #syncing: Promise<void> | undefined;
  #hasUntold = false;
  /** True once it has known all there is to know. */
  #hasLived = false;
  /** The time of Redis less the monotonic time here. */
  #offset: number;
  #isStopped = false;
  #sweepAt = 0;
  /** True while what this node knows is all there is to know, as far as it was last seen. */
  isOpen = false;
  /** When the log was last read, in monotonic milliseconds. */
  seenAt = -Infinity;

  constructor(
    private readonly commands: Link,
    private readonly control: Link,
    private readonly names: Names,
    private readonly nodes: Others,
    private readonly times: ClusterTimes,
    private readonly clock: WsClock,
    /** False where a client is let in although the facts cannot be asked. */
    private readonly isClosed: () => boolean,
    /** True while Redis answers, so that a question is worth its time. */
    private readonly isSeen: () => boolean,
  ) {
    this.#offset = clock.now() - clock.monotonic();
    this.#questions = new Questions(nodes.id, times.answerMs, clock);
    this.#door = new Door(() => this.#look(), times.doorMs, isClosed, clock);
  }

  /** How long ago the log was read, in milliseconds. */
  get lagMs(): number {
    return this.clock.monotonic() - this.seenAt;
  }

  /** Redis' time less this node's, in milliseconds. */
  get skewMs(): number {
    return this.#offset - (this.clock.now() - this.clock.monotonic());
  }

  listen(topic: FactTopic, listener: FactListener): void {
    this.#listeners.set(topic, listener);
  }

  onNotice(name: string, listener: (value: string) => void): void {
    this.#notices.set(name, listener);
  }

  /** Tells the other nodes what need not be kept. */
  async notify(name: string, value: string): Promise<void> {
    await this.commands.run(ANSWER, [this.names.top, this.names.log], [this.nodes.id, `!${name}`, value]);
  }

  async record(facts: readonly Fact[], isAsked = false): Promise<Reached> {
    const kept = facts.flatMap((fact) => this.#keep(fact) ?? []);
    try {
      const [reached = ALONE] = await Promise.all(
        kept.map((fact, index) => this.#record(fact, isAsked && index === 0)),
      );
      return reached;
    } catch (error) {
      if (error instanceof GatewayError) throw error;
      this.#hasUntold = true; // the replica has them
      throw unavailable(error);
    }
  }

  barrier(): undefined | Promise<void> {
    if (!this.isClosed() && !this.isSeen()) return undefined;
    return this.#door.pass();
  }

  /** Reads the log until it is stopped, and makes up for what was missed. */
  async run(): Promise<void> {
    while (!this.#isStopped) {
      try {
        await this.#step();
      } catch {
        // The link keeps the error, and the state of the cluster shows that nothing is read.
        await pause(RETRY_MS);
      }
    }
  }

  /** Tells the other nodes that this one has come, or goes. */
  async announce(): Promise<void> {
    await this.commands.run(ANSWER, [this.names.top, this.names.log], [this.nodes.id, '', 0]);
  }

  stop(): void {
    this.#isStopped = true;
    this.#door.stop();
    this.#questions.giveUpAll();
  }

  /** The life of Redis that this node is in step with: another one when Redis has lost what it knew. */
  get life(): string | undefined {
    return this.#life;
  }

  /** Number of the last entry of the log that was applied. */
  get position(): number {
    return this.#position;
  }

  /**
   * What a script has seen of Redis.
   *
   * @param position as it was before the script was sent: an entry may have come since
   * @returns true when this node knows all there is to know, but for the newest entries of the log
   */
  note(seen: Seen, position: number): boolean {
    this.#offset = seen.at - this.clock.monotonic();
    this.isOpen = seen.isOpen && this.#isWhole(seen, position);
    if (this.isOpen) this.#hasLived = true;
    return this.isOpen;
  }

  async #step(): Promise<void> {
    if (!this.isOpen || this.#hasUntold) {
      await this.#look();
      this.seenAt = this.clock.monotonic();
    }
    const { readMs } = this.times;
    const block = this.isOpen ? readMs : Math.min(readMs, RETRY_MS);
    const { log } = this.names;
    const from = this.#position;
    const answer = await this.control.call('XREAD', 'COUNT', READ_AT_ONCE, 'BLOCK', block, 'STREAMS', log, `${from}-0`);
    this.#advance(readLog(answer), from);
    this.seenAt = this.clock.monotonic();
    if (this.seenAt >= this.#sweepAt) {
      this.#sweepAt = this.seenAt + SWEEP_MS;
      this.#replica.forget(this.#now());
    }
  }

  /** Asks what Redis holds, and makes up for all that this node or Redis lacks. */
  async #look(): Promise<void> {
    let position = this.#position;
    let seen = await this.#gate();
    if (!this.#isWhole(seen, position) || this.#hasUntold) {
      await this.#synchronise();
      position = this.#position;
      seen = await this.#gate();
    }
    if (!this.note(seen, position))
      throw new Error('Redis has lost what it knew, and not all nodes have told it again');
    if (seen.top > this.#position) await this.#catchUp(seen.top);
  }

  #isWhole({ life, top }: Seen, position: number): boolean {
    return life === this.#life && top >= position;
  }

  async #gate(): Promise<Seen> {
    const { state, top } = this.names;
    return readSeen(await this.commands.run(GATE, [state, top], [this.times.settleMs]));
  }

  /** Reads the log up to that number by the connection for commands, since the other one may wait for news. */
  async #catchUp(top: number): Promise<void> {
    while (this.#position < top && !this.#isStopped) {
      const { log } = this.names;
      const from = this.#position;
      const entries = await this.commands.call('XRANGE', log, `(${from}-0`, '+', 'COUNT', READ_AT_ONCE);
      this.#advance(readLog([[log, entries]]), from);
      if (this.#position === from) return this.#synchronise(); // it was trimmed
    }
  }

  /** @param from what they were read behind */
  #advance(entries: readonly Entry[], from: number): void {
    if (from > this.#position) return; // all was read anew meanwhile, and these are read once more
    for (const entry of entries) {
      if (entry.number <= this.#position) continue;
      if (entry.number > this.#position + 1) {
        // Entries are missing: they were trimmed, or Redis has lost them.
        this.#life = undefined;
        this.isOpen = false;
        return;
      }
      this.#position = entry.number;
      this.#take(entry);
    }
  }

  #take(entry: Entry): void {
    if (entry.origin === this.nodes.id) return;
    if (entry.kind === 'notice') {
      this.#notices.get(entry.name)?.(entry.value);
      return;
    }
    if (entry.kind === 'answer') {
      if (entry.question === '') this.nodes.changed();
      this.#questions.answer(entry.question, entry.origin, entry.value);
      return;
    }
    this.#replica.merge(entry.fact);
    const answer = this.#apply(entry.fact);
    const { question } = entry;
    if (question === '') return;
    const tell = (value: number): Promise<unknown> =>
      this.commands.run(ANSWER, [this.names.top, this.names.log], [this.nodes.id, question, value]);
    // Where it is lost, the other node counts this one as missing.
    void Promise.resolve(answer)
      .then(tell)
      .catch(() => undefined);
  }

  #apply({ topic, data, rank, ends }: Kept): number | Promise<number> {
    try {
      const { key, data: told, auto } = JSON.parse(data) as Told; // because a node has written it
      const until = ends - this.#offset + (this.clock.now() - this.clock.monotonic());
      const fact = { topic, key, until, data: told, isAutomatic: auto === true, ...(rank !== undefined && { rank }) };
      const answer = this.#listeners.get(topic)?.(fact) ?? 0;
      if (!isThenable(answer)) return answer;
      return Promise.resolve(answer).catch((error: unknown) => {
        this.#faults.tell(error);
        return 0;
      });
    } catch (error) {
      this.#faults.tell(error);
      return 0;
    }
  }

  #synchronise(): Promise<void> {
    this.#syncing ??= this.#exchange().finally(() => (this.#syncing = undefined));
    return this.#syncing;
  }

  /** Learns all that Redis holds, and tells it what it lacks. */
  async #exchange(): Promise<void> {
    this.#life = undefined;
    this.isOpen = false;
    this.#hasUntold = false;
    try {
      const seen = await this.#gate();
      this.#offset = seen.at - this.clock.monotonic();
      const held = new Map<string, Kept>();
      for (const topic of TOPICS) for await (const fact of this.#scan(topic)) held.set(`${topic} ${fact.key}`, fact);
      const news = [...held.values()].toSorted((one, other) => one.decided - other.decided);
      for (const fact of news) if (this.#replica.merge(fact)) await this.#apply(fact);
      this.#position = seen.top; // facts that came meanwhile are read once more
      await this.#tell(held);
      const known = this.#hasLived ? [this.nodes.id, ...this.nodes.others()].join() : '';
      const { state, top } = this.names;
      const marked = readSeen(await this.commands.run(MARK, [state, top], [this.times.settleMs, this.nodes.id, known]));
      if (marked.life !== seen.life) throw new Error('Redis has begun another life meanwhile');
      this.#life = seen.life;
    } catch (error) {
      this.#hasUntold = true;
      throw error;
    }
  }

  async #tell(held: ReadonlyMap<string, Kept>): Promise<void> {
    const now = this.#now();
    const lacking = [...this.#replica.all()].filter((fact) => {
      const known = held.get(`${fact.topic} ${fact.key}`);
      return fact.ends > now && (known === undefined || isNewer(fact, known));
    });
    for (let from = 0; from < lacking.length; from += TOLD_AT_ONCE) {
      const some = lacking.slice(from, from + TOLD_AT_ONCE);
      await Promise.all(some.map((fact) => this.#write(fact, fact.decided, '')));
    }
  }

  async *#scan(topic: FactTopic): AsyncGenerator<Kept> {
    const [facts] = this.names.facts(topic);
    let cursor = '0';
    do {
      const [next, pairs] = readScan(await this.commands.call('HSCAN', facts, cursor, 'COUNT', READ_AT_ONCE));
      cursor = next;
      for (const [key, text] of pairs) {
        const fact = readFact(topic, key, text);
        if (fact !== undefined && fact.ends > this.#now()) yield fact;
      }
    } while (cursor !== '0');
  }

  /** @returns undefined for one that strangers have brought about, when there are too many of these: this node alone enforces it */
  #keep({ topic, key, rank, until, data, isAutomatic: isAuto = false }: Fact): Kept | undefined {
    if (isAuto && this.#replica.automatic >= BOUNDS[topic].automatic) return undefined;
    const now = Math.round(this.#now());
    const told: Told = { key, data, ...(isAuto && { auto: true }) };
    const fact: Kept = {
      topic,
      key: digestOf(key),
      rank,
      decided: now,
      ends: Math.round(now + (until - this.clock.now()) + (rank === undefined ? 0 : MARGIN_MS)),
      data: JSON.stringify(told),
    };
    this.#replica.merge(fact);
    return fact;
  }

  async #record(fact: Kept, isAsked: boolean): Promise<Reached> {
    const others = isAsked ? this.nodes.others() : [];
    // Before it is written: an answer may be read before this node hears that it was written.
    const question = others.length === 0 ? undefined : this.#questions.ask(others);
    try {
      const [number, decided] = await this.#write(fact, undefined, question?.id ?? '');
      if (number !== -1) this.#replica.confirm(fact, decided);
      else if (!isAutomatic(fact))
        throw new GatewayError('OVERLOADED', { message: `The list of ${fact.topic}s is full` });
      return (await question?.answered) ?? ALONE;
    } catch (error) {
      if (question !== undefined) this.#questions.giveUp(question.id);
      throw error;
    }
  }

  /** @returns its number in the log, 0 where Redis knew it, or -1 where there is no room; and when it was decided */
  async #write(
    fact: Kept,
    decided: number | undefined,
    question: string,
  ): Promise<readonly [number: number, decided: number]> {
    const { topic, key, rank, ends, data } = fact;
    const { state, top, log } = this.names;
    const most = isAutomatic(fact) ? BOUNDS[topic].automatic : BOUNDS[topic].most;
    const answer = await this.commands.run(
      RECORD,
      [state, top, log, ...this.names.facts(topic)],
      [this.times.settleMs, most, topic, key, rank ?? '', decided ?? '', ends, data, this.nodes.id, question],
    );
    return answer as [number, number]; // because the script returns that
  }

  /** Redis' time. */
  #now(): number {
    return this.clock.monotonic() + this.#offset;
  }
}
