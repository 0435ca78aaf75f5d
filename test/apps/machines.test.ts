import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { hasOpenssl } from '../support/certificates.js';
import { Client } from '../support/client.js';
import { startService, stopServices } from '../support/service.js';
import { SECRET, signed } from '../support/tokens.js';
import { KeyRotation, start } from './machines/main.js';

const execute = promisify(execFile);
const path = (name: string): string => new URL(`machines/${name}`, import.meta.url).pathname;
const folder = join(mkdtempSync(join(tmpdir(), 'ws-gateway-')), 'certificates');

afterEach(stopServices);

describe.runIf(hasOpenssl())('machines with certificates', () => {
  beforeAll(async () => void (await execute(path('make-certificates.sh'), [folder])));

  it('are known to the service by them', async () => {
    const { url } = await startService({
      JWT_SECRET: SECRET,
      AUTH_SOURCES: 'certificate,header',
      TLS_CERT_FILE: join(folder, 'server.pem'),
      TLS_KEY_FILE: join(folder, 'server.key'),
      TLS_CLIENT_CA_FILE: join(folder, 'ca.pem'),
    });
    const { stdout } = await execute(process.execPath, [path('client.mjs'), url, folder]);
    expect(stdout).toBe('session meter-1\n');
  });

  it('and to an application, which changes its keys while they are connected', async () => {
    const app = await start(folder, { old: SECRET });
    await app.listen(0, '127.0.0.1');
    const { port } = app.getHttpServer().address() as AddressInfo;
    const url = `wss://127.0.0.1:${port}/ws`;
    const ca = readFileSync(join(folder, 'ca.pem'));
    const meter = await Client.connect(url, {
      ca,
      cert: readFileSync(join(folder, 'meter-1.pem')),
      key: readFileSync(join(folder, 'meter-1.key')),
    });
    expect(await meter.ask({ event: 'reading', data: { watts: 5 }, id: 1 })).toMatchObject({
      data: { code: 'FORBIDDEN' },
    });
    const roles = ['meters'];
    const old = await Client.connect(url, { ca, token: signed({ roles }, { kid: 'old' }) });
    await old.ask({ event: 'reading', data: { watts: 5 }, id: 1 });
    const secret = `new ${SECRET}`;
    expect(await app.get(KeyRotation).use({ new: secret })).toEqual(['auth.jwt']);
    for (const client of [
      old,
      await Client.connect(url, { ca, token: signed({ roles }, { kid: 'new', key: secret }) }),
    ]) {
      expect(await client.ask({ event: 'reading', data: { watts: 6 }, id: 2 })).toMatchObject({
        data: { meter: 'ada', watts: 6 },
      });
    }
    expect((await (await Client.connect(url, { ca, token: signed({}, { kid: 'old' }) })).closed).reason).toBe(
      'TOKEN_INVALID',
    );
    await app.close();
  });
});
