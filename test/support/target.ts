import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';

/** A server of `test/apps`, as a process of its own. It runs the built package, so that nothing of the tests is in it. */
export interface Target {
  readonly process: ChildProcess;
  readonly port: number;
  /** All it has printed so far. */
  readonly output: () => string;
}

const running = new Set<ChildProcess>();

/**
 * Starts it on a free port and waits until it says where.
 *
 * @param flags of node
 * @throws Error with its output when it ends instead
 */
export async function startTarget(
  name: string,
  environment: NodeJS.ProcessEnv = {},
  flags: readonly string[] = [],
): Promise<Target> {
  const built = new URL('../../dist/index.js', import.meta.url);
  if (!existsSync(built)) throw new Error('dist/index.js is missing: npm run build');
  const program = new URL(`../apps/${name}`, import.meta.url).pathname;
  const env = { PATH: process.env.PATH, PORT: '0', ...environment };
  const args = ['--expose-gc', ...flags, program];
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  running.add(child);
  let printed = '';
  let over = false;
  child.stdout?.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  const exited = once(child, 'close').then(() => {
    running.delete(child);
    over = true;
  });
  for (;;) {
    const port = /127\.0\.0\.1:(\d+)/.exec(printed)?.[1];
    if (port !== undefined) return { process: child, port: Number(port), output: () => printed };
    if (over) throw new Error(`The target ended:\n${printed}`);
    await Promise.race([once(child.stdout as NonNullable<typeof child.stdout>, 'data'), exited]); // because it is piped
  }
}

export async function stopTarget({ process: child }: Target): Promise<void> {
  if (!running.has(child)) return;
  const closed = once(child, 'close');
  child.kill('SIGKILL');
  await closed;
}

/** For `afterAll`. */
export async function stopTargets(): Promise<void> {
  const closed = [...running].map((child) => once(child, 'close'));
  for (const child of running) child.kill('SIGKILL');
  await Promise.all(closed);
}
