import { contain, Faults } from '../base/contain.js';
import type { WsClock } from '../base/clock.js';
import type { Answers, NodeQuestions } from '../engine/cluster.js';
import { isJsonObject } from '../protocol/message.js';
import type { Link } from './links.js';
import type { Names } from './names.js';
import { Questions } from './questions.js';
import type { SharedFacts } from './shared-facts.js';

/** The notice that asks. */
const ASK = 'ask';

/** Questions to the other nodes: they come by the log, and the answers to the mailbox of the node that asks. A dead node is named, and not waited for. */
export class Asks implements NodeQuestions {
  readonly #handlers = new Map<string, (payload: unknown) => unknown>();
  readonly #faults = new Faults('A question of another node could not be answered');
  readonly #questions: Questions<unknown>;

  constructor(
    private readonly commands: Link,
    private readonly names: Names,
    private readonly nodeId: string,
    answerMs: number,
    private readonly facts: SharedFacts,
    private readonly others: () => readonly string[],
    clock: Pick<WsClock, 'every'>,
  ) {
    this.#questions = new Questions(nodeId, answerMs, clock);
    facts.onNotice(ASK, (text) => this.#hear(text));
  }

  onAsk(name: string, handler: (payload: unknown) => unknown): void {
    this.#handlers.set(name, handler);
  }

  async ask(name: string, payload: unknown): Promise<Answers> {
    const others = this.others();
    if (others.length === 0) return { answers: [], missing: [] };
    const { id, answered } = this.#questions.ask(others);
    // Where Redis does not take it, no node answers, and all of them are missing.
    await this.facts.notify(ASK, JSON.stringify({ id, from: this.nodeId, name, payload })).catch(() => undefined);
    return answered;
  }

  /** An answer has come. */
  receive(text: string): void {
    const { id, node, value } = objectIn(text);
    this.#questions.answer(String(id), String(node), value);
  }

  #hear(text: string): void {
    const { id, from, name, payload } = objectIn(text);
    const handler = this.#handlers.get(String(name));
    if (handler === undefined) return;
    void contain(() => {
      const value = handler(payload);
      const answer = JSON.stringify({ id, node: this.nodeId, value });
      return this.commands.call('PUBLISH', this.names.mailbox(String(from)), answer);
    }, this.#faults.tell);
  }
}

/** @returns an object without members for what no node has written */
function objectIn(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) ? value : {};
  } catch {
    return {};
  }
}
