import type { WsClock } from '../base/clock.js';

interface Question<T> {
  readonly waiting: Set<string>;
  readonly answers: T[];
  readonly done: () => void;
}

/** What other nodes have answered. */
interface Answered<T> {
  readonly answers: readonly T[];
  /** Ids of the nodes that have not answered in time. */
  readonly missing: readonly string[];
}

/** Questions to the other nodes that are not answered yet. A dead node is named, and not waited for any longer than the others. */
export class Questions<T> {
  readonly #open = new Map<string, Question<T>>();
  #count = 0;

  /** @param answerMs how long an answer is waited for */
  constructor(
    private readonly nodeId: string,
    private readonly answerMs: number,
    private readonly clock: Pick<WsClock, 'every'>,
  ) {}

  /** @param others the nodes that have to answer */
  ask(others: readonly string[]): { readonly id: string; readonly answered: Promise<Answered<T>> } {
    const id = `${this.nodeId}.${++this.#count}`;
    const answered = new Promise<Answered<T>>((resolve) => {
      const waiting = new Set(others);
      const answers: T[] = [];
      const done = (): void => {
        stop();
        this.#open.delete(id);
        resolve({ answers, missing: [...waiting] });
      };
      const stop = this.clock.every(this.answerMs, done);
      this.#open.set(id, { waiting, answers, done });
    });
    return { id, answered };
  }

  /** A node has answered; one that was not asked, or has answered before, is not counted. */
  answer(id: string, node: string, value: T): void {
    const question = this.#open.get(id);
    if (question?.waiting.delete(node) !== true) return;
    question.answers.push(value);
    if (question.waiting.size === 0) question.done();
  }

  /** It is not waited for any longer. */
  giveUp(id: string): void {
    this.#open.get(id)?.done();
  }

  giveUpAll(): void {
    for (const { done } of this.#open.values()) done();
  }
}
