import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { json } from 'node:stream/consumers';
import { NestFactory } from '@nestjs/core';
import type { INestApplication } from '@nestjs/common';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KeyRing, WsSeal } from '../../src/index.js';
import { hasBrowser, withPage } from '../support/browser.js';
import { Client } from '../support/client.js';
import { hasProgram } from '../support/service.js';
import { token } from '../support/tokens.js';
import { AppModule } from './sealed/app.module.js';
import { payout } from './sealed/client.mjs';
import { open, seal } from './sealed/seal.mjs';
import type { Key } from './sealed/seal.mjs';

const secret = 'change-me-to-32-bytes-or-more-of-randomness';
const python = '/usr/bin/python3'; // Debian's, which has the packages; another one on PATH may not
const hasPython = hasProgram('python3-jwcrypto or python3-websockets', python, ['-c', 'import jwcrypto, websockets']);
const hasChromium = hasBrowser();

const file = (name: string): string => new URL(`sealed/${name}`, import.meta.url).pathname;
const key = { kid: '2026-07', k: randomBytes(32).toString('base64url') };
const older = { kid: '2026-01', k: randomBytes(32).toString('base64url') };
const keys = [key, older];
const binding = { event: 'payout.request', subject: 'Ada Lovelace, née Bÿron' };
const value = { iban: 'DE02120300000000202051', holder: 'Zoë 🙂', amount: 12.5, tags: [null, true, '"'] };
const PAYOUT = { amount: 5, iban: 'DE02120300000000202051' };

/** What an implementation is given to do, and what came of it. */
interface Task {
  seal: unknown;
  open: string[];
  event: string;
  subject: string;
  keys: Key[];
}
interface Results {
  sealed: string;
  opened: unknown[];
  refused: string[];
}

function inPython(given: Task): Promise<Results> {
  return new Promise((resolve, reject) => {
    const child = execFile(python, ['-B', file('seal.py')], (error, stdout) =>
      error === null ? resolve(JSON.parse(stdout) as Results) : reject(error),
    );
    child.stdin?.end(JSON.stringify(given));
  });
}

async function inNode(given: Task): Promise<Results> {
  const [newest] = given.keys;
  const results: Results = { sealed: await seal(given.seal, given, newest as Key), opened: [], refused: [] };
  for (const sealed of given.open) {
    await open(sealed, given, given.keys).then(
      (opened) => results.opened.push(opened),
      (error: Error) => results.refused.push(error.message),
    );
  }
  return results;
}

let app: INestApplication;
let origin: string;
let toBrowser: object | undefined;
let fromBrowser: (results: unknown) => void;

const PAGE = `<!doctype html><script type="module">
  import { payout } from './client.mjs';
  import { open, seal } from './seal.mjs';
  const { task, dialogue, wanted } = await (await fetch('/task')).json();
  const results = { sealed: await seal(task.seal, task, task.keys[0]), opened: [], refused: [] };
  for (const sealed of task.open) {
    try { results.opened.push(await open(sealed, task, task.keys)); } catch (error) { results.refused.push(error.message); }
  }
  results.receipt = await payout(dialogue, wanted).catch(String);
  await fetch('/results', { method: 'POST', body: JSON.stringify(results) });
</script>`;

/** The page of the browser comes from the application's own host, and so may connect to it. */
async function servePage({ url = '', method }: IncomingMessage, response: ServerResponse, next: () => void) {
  const served: Record<string, () => Promise<[string, string]>> = {
    '/': async () => ['text/html', PAGE],
    '/task': async () => ['application/json', JSON.stringify(toBrowser)],
    '/seal.mjs': async () => ['text/javascript', await readFile(file('seal.mjs'), 'utf8')],
    '/client.mjs': async () => ['text/javascript', await readFile(file('client.mjs'), 'utf8')],
  };
  const found = method === 'GET' ? served[url] : undefined;
  if (found === undefined) return next();
  const [type, body] = await found();
  response.setHeader('content-type', type);
  response.end(body);
}

beforeEach(async () => {
  process.env.DATA_KEYS = keys.map(({ kid, k }) => `${kid}:${k}`).join();
  app = await NestFactory.create(AppModule, { logger: false, bodyParser: false });
  app.use(servePage);
  app.use('/results', (request: IncomingMessage, response: ServerResponse) => {
    void json(request).then(fromBrowser);
    response.end();
  });
  await app.listen(0, '127.0.0.1');
  origin = `http://127.0.0.1:${(app.getHttpServer() as { address(): AddressInfo }).address().port}`;
});
afterEach(async () => {
  delete process.env.DATA_KEYS;
  await app.close();
});

const wsUrl = (): string => `${origin.replace('http', 'ws')}/ws`;

describe('the application with a sealed field', () => {
  it('opens it, answers with a sealed receipt, and takes neither a plain value nor what was its own', async () => {
    const ada = { url: wsUrl(), token: token({}, secret), subject: 'ada', key };
    expect(await payout(ada, PAYOUT)).toEqual(PAYOUT);
    expect(await payout({ ...ada, key: older }, PAYOUT).catch(String)).toContain('not sealed by us'); // the receipt is: by the newest
    await expect(payout({ ...ada, subject: 'eve' }, PAYOUT)).rejects.toThrow(
      'VALIDATION_FAILED [{"path":"iban","rule":"sealed","message":"could not be opened"}]',
    );
    await expect(payout(ada, { amount: 5, iban: 'DE00' })).rejects.toThrow('isIBAN');

    const client = await Client.connect(wsUrl(), { token: token({}, secret) });
    const receipt = await app.get(WsSeal).seal(PAYOUT.iban, { event: 'payout.receipt', subject: 'ada' });
    for (const iban of [PAYOUT.iban, receipt]) {
      expect(await client.ask({ event: 'payout.request', data: { amount: 5, iban }, id: 1 })).toMatchObject({
        data: { code: 'VALIDATION_FAILED', details: [{ path: 'iban', rule: 'sealed' }] },
      });
    }
    await client.close();
  });
});

/** Values for the others to open, and three that none may: for another event, another subject, under another key. */
async function task(): Promise<Task> {
  const gateway = app.get(WsSeal);
  const before = await WsSeal.create(KeyRing.parse(`${older.kid}:${older.k}`));
  const stranger = await WsSeal.create(KeyRing.parse(`${key.kid}:${older.k}`));
  return {
    seal: value,
    open: [
      await gateway.seal(value, binding),
      await before.seal(value, binding),
      await gateway.seal(value, { ...binding, event: 'payout.receipt' }),
      await gateway.seal(value, { ...binding, subject: 'eve' }),
      await stranger.seal(value, binding),
    ],
    ...binding,
    keys,
  };
}

async function expectAgreement({ sealed, opened, refused }: Results): Promise<void> {
  expect(opened).toEqual([value, value]);
  expect(refused).toHaveLength(3);
  expect(refused.slice(0, 2)).toEqual(['sealed for something else', 'sealed for something else']);
  const gateway = app.get(WsSeal);
  expect(await gateway.open(sealed, binding)).toEqual(value);
  await expect(gateway.open(sealed, { ...binding, subject: 'eve' })).rejects.toThrow();
}

describe('a sealed value', () => {
  it('is the same for WebCrypto in Node', async () => {
    await expectAgreement(await inNode(await task()));
  });

  it.runIf(hasPython)('is the same for jwcrypto, which talks to the gateway', async () => {
    await expectAgreement(await inPython(await task()));
    const args = ['-B', file('client.py'), wsUrl(), token({}, secret), 'ada', key.kid, key.k];
    const printed = await new Promise<string>((resolve, reject) => {
      execFile(python, args, (error, stdout) => (error === null ? resolve(stdout) : reject(error)));
    });
    const [receipt = '', refusal] = printed.trim().split('\n');
    expect(JSON.parse(receipt)).toEqual(PAYOUT);
    expect(refusal).toBe('VALIDATION_FAILED sealed');
  });

  it.runIf(hasPython)('goes from jwcrypto to WebCrypto and back', async () => {
    const { sealed: byNode } = await inNode(await task());
    const { sealed: byPython, opened } = await inPython({ ...(await task()), open: [byNode] });
    expect(opened).toEqual([value]);
    expect((await inNode({ ...(await task()), open: [byPython] })).opened).toEqual([value]);
  });

  it.runIf(hasChromium)('is the same for WebCrypto in Chromium, which talks to the gateway', async () => {
    const dialogue = { url: wsUrl(), token: token({}, secret), subject: 'ada', key };
    toBrowser = { task: await task(), dialogue, wanted: PAYOUT };
    const results = new Promise((resolve) => (fromBrowser = resolve));
    const { receipt, ...rest } = (await withPage(`${origin}/`, () => results)) as Results & { receipt: unknown };
    await expectAgreement(rest);
    expect(receipt).toEqual(PAYOUT);
  });
});
