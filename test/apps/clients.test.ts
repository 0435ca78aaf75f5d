import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { hasProgram, startService, stopServices } from '../support/service.js';
import { SECRET, token } from '../support/tokens.js';

const execute = promisify(execFile);
const script = (name: string): string => new URL(`clients/${name}`, import.meta.url).pathname;

afterEach(stopServices);

const python = '/usr/bin/python3'; // Debian's, which has the packages; another one on PATH may not

describe.runIf(hasProgram('python3-websockets or python3-jwt', python, ['-c', 'import websockets, jwt']))(
  'a Python client',
  () => {
    it('authenticates with its first message, asks, is refused, and is told when its token expires', async () => {
      const { url } = await startService({ JWT_SECRET: SECRET });
      const { stdout } = await execute(python, [script('client.py'), url, SECRET, '2']);
      expect(stdout.trim().split('\n')).toEqual([
        'session python',
        'message Server received: hello',
        'email Ada@example.org',
        'refused VALIDATION_FAILED',
        'disconnect TOKEN_EXPIRED True',
        'closed 4101',
      ]);
    });

    it('buys a ticket, connects with it once, and refreshes its session', async () => {
      const { url, http } = await startService({ JWT_SECRET: SECRET, AUTH_SOURCES: 'header,ticket,message' });
      const { stdout } = await execute(python, [script('ticket.py'), http, url, SECRET]);
      expect(stdout.trim().split('\n')).toEqual(['session python', 'refreshed auth', 'replay TOKEN_INVALID']);
    });
  },
);

describe('a client on Node', () => {
  it('correlates replies and exceptions by id', async () => {
    const { url } = await startService({ JWT_SECRET: SECRET });
    const { stdout } = await execute(process.execPath, [script('client.mjs'), url, token()]);
    expect(stdout.trim().split('\n')).toEqual(['reply Server received: hello', 'exception VALIDATION_FAILED text']);
  });
});
