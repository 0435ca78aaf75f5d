import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { existsSync } from 'node:fs';
import { once } from 'node:events';

export const MAIN = new URL('../../dist/main.js', import.meta.url).pathname;

/** The standalone service as a process of its own. */
export interface Service {
  process: ChildProcessWithoutNullStreams;
  url: string;
  http: string;
  /** All it has printed so far. */
  output: () => string;
  /** Resolves with the exit code. */
  exited: Promise<number | null>;
}

const running = new Set<ChildProcessWithoutNullStreams>();

/** Runs the command with nothing of this process's environment but PATH. */
export function run(
  args: string[],
  environment: NodeJS.ProcessEnv = {},
): { process: ChildProcessWithoutNullStreams; output: () => string; exited: Promise<number | null> } {
  if (!existsSync(MAIN)) throw new Error('dist/main.js is missing: npm run build');
  const child = spawn(process.execPath, [MAIN, ...args], { env: { PATH: process.env.PATH, ...environment } });
  let printed = '';
  child.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  running.add(child);
  const exited = once(child, 'close').then(([code]) => {
    running.delete(child);
    return code as number | null;
  });
  return { process: child, output: () => printed, exited };
}

/** Starts the service on a free port and waits until it listens. @throws Error with its output when it ends instead */
export async function startService(environment: NodeJS.ProcessEnv = {}, args: string[] = []): Promise<Service> {
  const { process: child, output, exited } = run(args, { PORT: '0', ...environment });
  let over = false;
  void exited.then(() => (over = true));
  for (;;) {
    const http = /Listening on (https?:\/\/127\.0\.0\.1:[1-9]\d*)/.exec(output())?.[1];
    if (http !== undefined && /WebSocket at/.test(output())) {
      return { process: child, output, exited, http, url: `${http.replace('http', 'ws')}/ws` };
    }
    if (over) throw new Error(`The service ended:\n${output()}`);
    await Promise.race([once(child.stdout, 'data'), exited]);
  }
}

const shared = new Set<ChildProcessWithoutNullStreams>();

/**
 * As {@link startService}, for several tests that leave it as it was, since a start takes a second of CPU: for `beforeAll`, and
 * {@link stopSharedServices} for `afterAll`.
 */
export async function shareService(environment: NodeJS.ProcessEnv = {}): Promise<Service> {
  const service = await startService(environment);
  shared.add(service.process);
  return service;
}

/** For `afterEach`. */
export function stopServices(): Promise<void> {
  return stop([...running].filter((child) => !shared.has(child)));
}

/** For `afterAll`. */
export function stopSharedServices(): Promise<void> {
  const children = [...running].filter((child) => shared.has(child));
  shared.clear();
  return stop(children);
}

async function stop(children: ChildProcessWithoutNullStreams[]): Promise<void> {
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(children.map((child) => once(child, 'close')));
}

/**
 * True when a program of the system is there. Where it is not, the suite is skipped with a line that says so; where `CI`
 * is set that is an error, since a skipped suite proves nothing.
 */
export function hasProgram(what: string, command: string, args: string[]): boolean {
  if (spawnSync(command, args, { stdio: 'ignore' }).status === 0) return true;
  if (process.env.CI) throw new Error(`${what} is missing, and CI may not skip a suite`);
  process.stderr.write(`skipped: ${what} is missing\n`);
  return false;
}
