import { createHash } from 'node:crypto';

const PARTITIONS = 64;

/** Hash tags, one for each 256 slots of a Redis Cluster, so that any number of masters gets equal shares. */
const TAGS = tagsOfPartitions();

/** The names of all keys and channels. They are the same on one Redis and on a Redis Cluster, so that moving keeps the data. */
export class Names {
  readonly state: string;
  readonly top: string;
  readonly log: string;
  readonly nodes: string;
  readonly cards: string;

  constructor(private readonly prefix: string) {
    const control = (key: string): string => `${prefix}:{ctl}:${key}`;
    this.state = control('state');
    this.top = control('top');
    this.log = control('log');
    this.nodes = control('nodes');
    this.cards = control('cards');
  }

  /** What is kept of a topic, and when each of it ends. */
  facts(topic: string): readonly [facts: string, ends: string] {
    return [`${this.prefix}:{ctl}:facts:${topic}`, `${this.prefix}:{ctl}:ends:${topic}`];
  }

  /** Where the messages of a channel are published. */
  topic(channel: string): string {
    return this.#of('c', channel);
  }

  /** Its history and its place, in the slot of its topic. */
  kept(channel: string): { readonly history: string; readonly place: string } {
    return { history: this.#of('h', channel), place: this.#of('p', channel) };
  }

  /** The channel of a topic that {@link topic} has named. */
  channelOf(topic: string): string {
    return topic.slice(topic.indexOf('}:c:') + 4);
  }

  /** What is for sessions of all nodes, wherever they are. */
  get direct(): string {
    return `${this.prefix}:direct`;
  }

  /** What an idempotency key was used for. */
  used(channel: string, owner: string, value: string): string {
    const digest = digestOf(JSON.stringify([owner, value]));
    return `${this.#of('i', channel)}:${digest}`;
  }

  /** Where a node hears itself, so that it notices when it has gone deaf. */
  mailbox(node: string): string {
    return this.#of('n', node);
  }

  /** The sessions of a subject. */
  subject(subject: string): string {
    return this.#of('u', digestOf(subject));
  }

  ticket(digest: string): string {
    return this.#of('t', digest);
  }

  #of(kind: string, name: string): string {
    return `${this.prefix}:{${tagOf(name)}}:${kind}:${name}`;
  }
}

/** The partition of a name, 0 to 63: FNV-1a of its UTF-16 units. */
function partitionOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < name.length; index++) hash = Math.imul(hash ^ name.charCodeAt(index), 0x01000193);
  return (hash >>> 0) % PARTITIONS;
}

function tagOf(name: string): string {
  return TAGS[partitionOf(name)] as string; // because there is a tag for each partition
}

/** Of a message; and of a subject, or what a fact is about, since no key holds what names a person. */
export function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}

function tagsOfPartitions(): readonly string[] {
  const tags: string[] = [];
  for (let next = 0, found = 0; found < PARTITIONS; next++) {
    const tag = next.toString(36);
    const partition = slotOf(tag) >> 8;
    if (tags[partition] !== undefined) continue;
    tags[partition] = tag;
    found++;
  }
  return tags;
}

/** CRC16, as the specification of Redis Cluster has it, modulo 16,384 slots. */
function slotOf(tag: string): number {
  let crc = 0;
  for (const byte of Buffer.from(tag)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = ((crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1) & 0xffff) >>> 0;
  }
  return crc % 16_384;
}
