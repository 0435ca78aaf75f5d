import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { attempt } from './attempt.js';
import { Conversation } from './conversation.js';
import { generate } from './generate.js';
import type { Input, Speaker } from './input.js';

/** Connections that are busy at once. */
const LANES = 12;

/** Inputs that are remembered when they are over: what the server prints may arrive after its answer. */
const REMEMBERED = 4 * LANES;

/** Inputs after which a session is left, so that what piles up in one is seen in its end, too. */
const INPUTS_PER_SESSION = 300;

export interface FuzzOptions {
  readonly seed: number;
  /** Inputs to try, from `first` on. */
  readonly n: number;
  readonly first?: number;
}

/** The first input that the server did not stand. */
export interface Finding {
  readonly seed: number;
  readonly index: number;
  readonly reason: string;
  readonly input: Input;
}

export interface Outcome {
  readonly finding: Finding | undefined;
  /** The input that was waited for longest, and for how many milliseconds. */
  readonly slowest: { readonly index: number; readonly ms: number };
}

/** Tries the inputs of a seed, up to the first one that fails. */
export async function fuzz({ seed, n, first = 0 }: FuzzOptions): Promise<Outcome> {
  const target = await Target.start();
  let slowest = { index: first, ms: 0 };
  const findings: Finding[] = [];
  const tried: number[] = [];
  const end = first + n;
  let next = first;
  const lane = async (): Promise<void> => {
    const sessions = new Sessions(target.port);
    while (next < end && findings.length === 0 && target.fault === undefined) {
      const index = next++;
      const input = generate(seed, index);
      if (tried.push(index) > REMEMBERED) tried.shift();
      const begun = performance.now();
      try {
        // Each lane tries one input after the other: that is what a lane is.
        await sessions.run(input);
      } catch (error) {
        findings.push({ seed, index, reason: reasonOf(error), input });
      }
      const ms = performance.now() - begun;
      if (ms > slowest.ms) slowest = { index, ms };
    }
    sessions.end();
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  await target.stop();
  const finding =
    target.fault === undefined
      ? findings.toSorted((a, b) => a.index - b.index)[0]
      : await guilty(seed, tried, target.fault);
  return { finding, slowest };
}

/** Which of the inputs that were tried last brings a fresh server to the same end? Else the first of them is named. */
async function guilty(seed: number, indices: readonly number[], fault: string): Promise<Finding> {
  const found = (index: number, reason: string): Finding => ({ seed, index, reason, input: generate(seed, index) });
  for (const index of indices) {
    const fresh = await Target.start();
    await new Sessions(fresh.port).run(generate(seed, index)).catch(() => undefined);
    await fresh.stop();
    if (fresh.fault !== undefined) return found(index, fresh.fault);
  }
  return found(indices[0] ?? 0, `one of the inputs ${indices.join(', ')}, and none of them alone: ${fault}`);
}

/** The sessions of one lane, one for each kind of speaker, opened when they are needed. */
class Sessions {
  readonly #open = new Map<Speaker, { conversation: Conversation; inputs: number }>();

  constructor(private readonly port: number) {}

  async run(input: Input): Promise<void> {
    if (input.kind === 'upgrade') return attempt(this.port, input);
    const { speaker } = input;
    const session = this.#open.get(speaker) ?? { conversation: await Conversation.open(this.port, speaker), inputs: 0 };
    const { conversation } = session;
    this.#open.set(speaker, session);
    try {
      await conversation.run(input);
    } finally {
      if (++session.inputs >= INPUTS_PER_SESSION || !conversation.isReusable || input.finish !== 'stay') {
        conversation.end();
        this.#open.delete(speaker);
      }
    }
  }

  end(): void {
    for (const { conversation } of this.#open.values()) conversation.end();
  }
}

/** The server under test, a process of its own: what it prints on stderr, or its end, is a fault. */
class Target {
  #printed = '';
  #stopping = false;
  #exit: string | undefined;

  private constructor(
    readonly process: ChildProcess,
    readonly port: number,
  ) {
    process.stderr?.on('data', (chunk: Buffer) => (this.#printed += chunk.toString()));
    process.on('exit', (code, signal) => {
      if (!this.#stopping) this.#exit = `the server ended with ${code ?? signal}`;
    });
  }

  static async start(): Promise<Target> {
    const program = new URL('../support/typescript.mjs', import.meta.url).pathname;
    const file = new URL('./target.ts', import.meta.url).pathname;
    const child = fork(program, [file], { stdio: ['ignore', 'inherit', 'pipe', 'ipc'], execArgv: [] });
    const port = await new Promise<number>((resolve, reject) => {
      child.once('message', (message) => resolve((message as { port: number }).port));
      child.once('exit', (code) => reject(new Error(`The target ended with ${code} before it listened`)));
    });
    return new Target(child, port);
  }

  get fault(): string | undefined {
    if (this.#exit !== undefined) return `${this.#exit}\n${this.#printed}`;
    return this.#printed === '' ? undefined : this.#printed;
  }

  async stop(): Promise<void> {
    if (this.#exit !== undefined) return;
    // The last word on stderr comes before the end of the process is told.
    const closed = new Promise((resolve) => this.process.once('close', resolve));
    if (this.process.connected) {
      this.#stopping = true;
      this.process.send('stop', () => undefined); // it may be dying at this moment, which stderr tells
    }
    await closed;
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
