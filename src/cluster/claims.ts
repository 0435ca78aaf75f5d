import type { SessionClaims } from '../engine/cluster.js';
import { GatewayError } from '../protocol/errors.js';
import type { Link } from './links.js';
import type { Names } from './names.js';
import { CLAIM } from './scripts.js';
import type { SharedFacts } from './shared-facts.js';

/** Claims that could not be given back, which are remembered until they can be. */
const MAX_UNRELEASED = 10_000;

/** The notice that a session has lost its slot to one of another node. */
const REPLACED = 'replaced';

/** Which sessions a subject has on all nodes. An entry counts as long as the lease of its node. */
export class RedisClaims implements SessionClaims {
  /** Subjects by session. */
  readonly #unreleased = new Map<string, string>();

  /** @param living ids of the nodes that live */
  constructor(
    private readonly commands: Link,
    private readonly names: Names,
    private readonly nodeId: string,
    private readonly leaseMs: number,
    private readonly facts: SharedFacts,
    private readonly living: () => readonly string[],
    private readonly isLive: () => boolean,
  ) {}

  get isShared(): boolean {
    return this.isLive();
  }

  async claim(
    subject: string,
    sessionId: string,
    limit: number,
    refusesNew: boolean,
    since?: number,
  ): Promise<readonly string[]> {
    const args = [sessionId, this.nodeId, limit, refusesNew ? 1 : 0, since ?? '', this.living().join(), this.leaseMs];
    const reply = await this.commands.run(CLAIM, [this.names.subject(subject)], args);
    const [isRefused, ...surplus] = reply as [number, ...string[]]; // because the script returns that
    if (isRefused === 1) throw new GatewayError('SESSION_LIMIT');
    const own: string[] = [];
    for (let i = 0; i + 1 < surplus.length; i += 2) {
      const [id = '', node] = surplus.slice(i, i + 2);
      if (node === this.nodeId) own.push(id);
      else await this.facts.notify(REPLACED, id);
    }
    return own;
  }

  release(subject: string, sessionId: string): void {
    this.commands.call('HDEL', this.names.subject(subject), sessionId).catch(() => {
      if (this.#unreleased.size < MAX_UNRELEASED) this.#unreleased.set(sessionId, subject);
    });
  }

  /** Redis can be reached again. */
  releaseLate(): void {
    const late = [...this.#unreleased];
    this.#unreleased.clear();
    for (const [sessionId, subject] of late) this.release(subject, sessionId);
  }
}
