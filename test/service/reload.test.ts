import { mkdtempSync, renameSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { UNLIMITED } from '../support/app.js';
import { CertificateAuthority, hasOpenssl } from '../support/certificates.js';
import { Client, refusal } from '../support/client.js';
import { startService, stopServices } from '../support/service.js';
import type { Service } from '../support/service.js';
import { SECRET, signed, token } from '../support/tokens.js';

afterEach(stopServices);

/** The lines of the log that the reloads wrote. */
const reloadsOf = ({ output }: Service): Record<string, unknown>[] =>
  output()
    .split('\n')
    .filter((line) => /"msg":"(Reloaded|The configuration is not valid)/.test(line))
    .map((line) => JSON.parse(line) as Record<string, unknown>);

/** A service with a file of options, and how to change that. */
async function start(
  options: object,
  environment: NodeJS.ProcessEnv = {},
): Promise<Service & { reload: (next: object | string) => Promise<Record<string, unknown>> }> {
  const folder = mkdtempSync(join(tmpdir(), 'ws-gateway-'));
  const file = join(folder, 'options.json');
  const put = (next: object | string): void => {
    writeFileSync(`${file}.new`, typeof next === 'string' ? next : JSON.stringify(next));
    renameSync(`${file}.new`, file);
  };
  put(options);
  const service = await startService({ LOG_FORMAT: 'json', WS_GATEWAY_CONFIG: file, ...environment });
  const reload = async (next: object | string): Promise<Record<string, unknown>> => {
    const before = reloadsOf(service).length;
    put(next);
    service.process.kill('SIGHUP');
    await expect.poll(() => reloadsOf(service).length, { interval: 10 }).toBeGreaterThan(before);
    return reloadsOf(service)[before] as Record<string, unknown>;
  };
  return { ...service, reload };
}

const base = { auth: { jwt: { secret: SECRET } } };

describe('SIGHUP', () => {
  it('changes keys, limits, lists and the log level, with one line of what it was', async () => {
    const service = await start(base);
    const client = await Client.connect(service.url, { token: token() });
    await client.ask({ event: 'echo', data: 1, id: 1 });
    const origin = 'https://app.example.com';
    const secret = 'another-secret-for-tests-of-32-bytes-or-more';
    const next = {
      auth: { jwt: { secret } },
      limits: { maxMessageBytes: 100 },
      firewall: { origins: [origin] },
      logLevel: 'debug',
    };
    expect(await service.reload(next)).toMatchObject({
      level: 30,
      msg: 'Reloaded',
      changed: ['auth.jwt', 'firewall.origins', 'limits.maxMessageBytes', 'logLevel'],
    });
    expect(await client.ask({ event: 'echo', data: 2, id: 2 })).toMatchObject({ data: 2 });
    client.send({ event: 'echo', data: 'x'.repeat(200), id: 3 });
    expect((await client.closed).code).toBe(1009);
    const fresh = await Client.connect(service.url, { token: token({}, secret), origin });
    expect(await fresh.ask({ event: 'echo', data: 4, id: 4 })).toMatchObject({ data: 4 });
    const answer = await fetch(`${service.http}/healthz`, { headers: { origin } });
    expect(answer.headers.get('access-control-allow-origin')).toBe(origin);
    expect((await (await Client.connect(service.url, { token: token() })).closed).reason).toBe('TOKEN_INVALID');
    await fresh.close();
    await expect.poll(service.output).toContain('"level":20'); // what debug tells of a clean close
    for (const given of [secret, SECRET]) expect(service.output()).not.toContain(given);
  });

  it('changes what one path has otherwise, and refuses a path that is none', async () => {
    const service = await start({ ...base, paths: { '/ws': { limits: { messagesPerSecond: null } } } });
    const client = await Client.connect(service.url, { token: token() });
    const small = { ...base, paths: { '/ws': { limits: { maxMessageBytes: 100 } } } };
    expect(await service.reload(small)).toMatchObject({
      msg: 'Reloaded',
      changed: ['paths["/ws"].limits.maxMessageBytes', 'paths["/ws"].limits.messagesPerSecond'],
    });
    const refused = await service.reload({ ...base, paths: { '/wss': {} } });
    expect(refused.problems).toEqual([expect.stringContaining('paths["/wss"] is the path of no gateway')]);
    client.send({ event: 'echo', data: 'x'.repeat(200), id: 1 });
    expect((await client.closed).code).toBe(1009);
  });

  it('tells of a change to and from a log level that would not show it', async () => {
    const service = await start(base);
    expect(await service.reload({ ...base, logLevel: 'error' })).toMatchObject({ changed: ['logLevel'] });
    expect(await service.reload({ ...base, logLevel: 'info' })).toMatchObject({ changed: ['logLevel'] });
    await service.reload({ ...base, logLevel: 'error' });
    await (
      await Client.connect(service.url, { token: 'bad' })
    ).closed;
    await service.reload({ ...base, logLevel: 'info' });
    expect(service.output()).not.toContain('TOKEN_INVALID');
  });

  it.each([
    ['options that are not valid', { ...base, limits: { maxMessageBytes: 0 }, nonsense: 1 }, ['limits.', 'nonsense']],
    ['a log level that is none', { ...base, logLevel: 'loud', limits: { maxMessageBytes: 50 } }, ['logLevel must be']],
    ['half a file', '{"auth":{"jwt":{"secret":"se', ['WS_GATEWAY_CONFIG']],
    ['a key that is too short', { auth: { jwt: { secret: 'hunter2' } } }, ['auth.jwt.secret']],
  ])('leaves all as it was for %s', async (_, bad, names) => {
    const service = await start(base);
    const client = await Client.connect(service.url, { token: token() });
    const line = await service.reload(bad);
    expect(line).toMatchObject({ level: 50, msg: 'The configuration is not valid; all is as it was' });
    for (const name of names) expect(JSON.stringify(line.problems)).toContain(name);
    expect(await client.ask({ event: 'echo', data: 'x'.repeat(100), id: 1 })).toMatchObject({ id: 1 });
    const fresh = await Client.connect(service.url, { token: token() });
    expect(await fresh.ask({ event: 'echo', data: 'x'.repeat(100), id: 1 })).toMatchObject({ id: 1 });
    expect(service.output()).not.toContain('hunter2');
    expect(await service.reload(base)).toMatchObject({ msg: 'Reloaded; nothing has changed' });
  });

  it('says what takes a restart', async () => {
    const service = await start(base);
    const line = await service.reload({ ...base, path: '/other', limits: { maxBadFrames: 5 } });
    expect(line).toMatchObject({ level: 40, changed: ['limits.maxBadFrames'], needRestart: ['path'] });
    const client = await Client.connect(service.url, { token: token() });
    expect(await client.ask({ event: 'ping', id: 1 })).toMatchObject({ event: 'pong' });
  });

  it('leaves the secret that a run has made up', async () => {
    const service = await start({});
    await expect.poll(service.output).toContain('--token');
    const [, bearer] = /--token (\S+)/.exec(service.output()) ?? [];
    await service.reload({ limits: { maxBadFrames: 5 } });
    const client = await Client.connect(service.url, { token: bearer as string });
    expect(await client.ask({ event: 'session', id: 1 })).toMatchObject({ data: { subject: 'demo' } });
  });

  it('that comes again meanwhile is answered once more, and the environment goes before the file', async () => {
    const service = await start(base, { MAX_MESSAGE_BYTES: '100', LOG_LEVEL: 'info' });
    for (let n = 0; n < 20; n++) service.process.kill('SIGHUP');
    await service.reload({ ...base, limits: { maxMessageBytes: 50_000 }, logLevel: 'error' });
    expect(reloadsOf(service).every(({ msg }) => msg === 'Reloaded; nothing has changed')).toBe(true);
    const client = await Client.connect(service.url, { token: token() });
    client.send({ event: 'echo', data: 'x'.repeat(1_000), id: 3 });
    expect((await client.closed).code).toBe(1009);
    expect(await refusal(`${service.url}x`)).toMatchObject({ status: 404 });
  });
});

describe.runIf(hasOpenssl())('under load', () => {
  it('keys, the certificate and the configuration change; nobody is dropped, refused or left without an answer', async () => {
    const authority = new CertificateAuthority();
    const ca = authority.certificate.cert;
    const folder = mkdtempSync(join(tmpdir(), 'ws-gateway-'));
    const [certFile, keyFile] = [join(folder, 'tls.crt'), join(folder, 'tls.key')];
    const putCertificate = (): void => {
      const { cert, key } = authority.forServer();
      writeFileSync(certFile, cert);
      writeFileSync(keyFile, key);
    };
    putCertificate();
    const options = (round: number): object => ({
      // The key of the round before is still good, as in a rotation.
      auth: { jwt: { secrets: { [`k${round - 1}`]: `k${round - 1}${SECRET}`, [`k${round}`]: `k${round}${SECRET}` } } },
      limits: { ...UNLIMITED.limits, maxMessageBytes: 10_000 + round },
      firewall: { ...UNLIMITED.firewall, origins: ['https://app.example.com', `https://${round}.example.com`] },
      logLevel: round % 2 === 0 ? 'info' : 'warn',
    });
    const service = await start(options(0), { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile });

    let round = 0;
    let over = false;
    let answers = 0;
    let arrivals = 0;
    const seen = new Set<string>();
    const bearer = (sub: string): string => signed({ sub }, { kid: `k${round}`, key: `k${round}${SECRET}` });
    const clients = await Promise.all(
      Array.from({ length: 20 }, (_, n) => Client.connect(service.url, { ca, token: bearer(`s${n}`) })),
    );
    const busy = clients.map(async (client, n) => {
      for (let id = 1; !over; id++) {
        const isRefresh = id % 20 === 0;
        const [event, data] = isRefresh ? ['auth', { token: bearer(`s${n}`) }] : ['echo', 'x'.repeat(id % 5_000)];
        expect(await client.ask({ event, data, id })).toMatchObject({ event, id });
        answers++;
      }
    });
    const arriving = Array.from({ length: 3 }, async () => {
      while (!over) {
        const origin = 'https://app.example.com';
        const client = await Client.connect(service.url, { ca, origin, token: bearer('guest') });
        const { _socket: stream } = client.socket as unknown as {
          _socket: { getPeerCertificate(): { serialNumber: string } };
        }; // because ws does not show it
        seen.add(stream.getPeerCertificate().serialNumber);
        expect(await client.ask({ event: 'echo', data: 1, id: 1 })).toMatchObject({ data: 1 });
        await client.close();
        arrivals++;
      }
    });
    for (let next = 1; next <= 10; next++) {
      await service.reload(options(next));
      round = next; // only now are tokens of the new key given out
      const hasNew = next % 3 === 0;
      const certificates = seen.size + (hasNew ? 1 : 0);
      if (hasNew) putCertificate(); // nobody is told
      await service.reload('{"limits":'); // a mistake in between
      const enough = [answers + 200, arrivals + 3] as const;
      await expect
        .poll(() => answers >= enough[0] && arrivals >= enough[1] && seen.size >= certificates, {
          timeout: 10_000,
          interval: 10,
        })
        .toBe(true);
    }
    over = true;
    await Promise.all([...busy, ...arriving]);
    expect(clients.every(({ socket }) => socket.readyState === socket.OPEN)).toBe(true);
    expect(seen.size).toBe(4);
    const failures = service.output().split('\n').filter((line) => /"code":/.test(line)); // prettier-ignore
    expect(failures).toEqual([]);
    expect(service.output()).not.toContain(SECRET);
  }, 60_000);
});
