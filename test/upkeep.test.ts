import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = new URL('..', import.meta.url).pathname;
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const manifest = JSON.parse(read('package.json')) as Record<'dependencies' | 'scripts', Record<string, string>>;

/** Runs a script of the upkeep; resolves with its exit code and all it has printed. */
async function upkeep(
  script: string,
  args: string[],
  env: NodeJS.ProcessEnv = {},
): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, [join(root, 'test/upkeep', script), ...args], {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, output };
}

const isAtLeast = (version: string, least: string): boolean =>
  version.localeCompare(least, 'en', { numeric: true }) >= 0;

describe('ws', () => {
  const { ws } = JSON.parse(read('test/upkeep/patched.json')) as { ws: { version: string; why: string }[] };
  const newest = ws.reduce((one, other) => (isAtLeast(one.version, other.version) ? one : other));

  it('is installed at the newest patched version that is known, or a newer one', () => {
    const { version } = createRequire(join(root, 'src/index.ts'))('ws/package.json') as { version: string };
    expect([version, isAtLeast(version, newest.version)]).toEqual([version, true]);
  });

  it('is not installed below it by anybody', () => {
    expect(manifest.dependencies.ws).toMatch(/^\^\d/);
    expect(isAtLeast((manifest.dependencies.ws as string).slice(1), newest.version)).toBe(true);
  });

  it('has no copy beside it that an advisory is about', () => {
    const known = ws.filter(({ why }) => why.startsWith('GHSA-')).map(({ version }) => version);
    const { packages } = JSON.parse(read('package-lock.json')) as { packages: Record<string, { version: string }> };
    const copies = Object.entries(packages).filter(([path]) => path.endsWith('node_modules/ws'));
    expect(copies.length).toBeGreaterThan(0);
    for (const [path, { version }] of copies) {
      expect([path, known.filter((patched) => !isAtLeast(version, patched))]).toEqual([path, []]);
    }
  });
});

describe('the update bot', () => {
  it.each(['npm', 'docker', 'github-actions'])('looks after %s', (ecosystem) => {
    expect(read('.github/dependabot.yml')).toMatch(new RegExp(`package-ecosystem: ${ecosystem}\\n    directory: /\\n`));
  });
});

describe('SECURITY.md', () => {
  it('says which versions are supported and how to report', () => {
    const text = read('SECURITY.md');
    for (const heading of ['## Supported versions', '## Reporting a vulnerability']) expect(text).toContain(heading);
    expect(text).toMatch(/in private/);
    for (const line of ['20.19', '22', '24']) expect(text).toContain(line);
  });
});

describe('the licence check', () => {
  it('finds nothing here that is not allowed', async () => {
    const { code, output } = await upkeep('licences.mjs', []);
    expect(output).toMatch(/^licences: \d{3,} packages, all allowed\n$/);
    expect(code).toBe(0);
  });

  it('names what is not', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ws-gateway-'));
    const packages = {
      '': {},
      'node_modules/good': { version: '1.0.0', license: '(GPL-3.0 OR MIT)' },
      'node_modules/old': { version: '1.0.0' },
      'node_modules/bad': { version: '1.2.3', license: 'AGPL-3.0' },
      'node_modules/a/node_modules/both': { version: '1.0.0', license: 'MIT AND GPL-2.0' },
      'node_modules/tool': { version: '1.0.0', license: 'MPL-2.0', dev: true },
      'node_modules/shipped': { version: '1.0.0', license: 'MPL-2.0' },
      'node_modules/none': { version: '1.0.0' },
    };
    writeFileSync(join(folder, 'package-lock.json'), JSON.stringify({ packages }));
    mkdirSync(join(folder, 'node_modules/old'), { recursive: true });
    writeFileSync(join(folder, 'node_modules/old/package.json'), JSON.stringify({ licenses: [{ type: 'MIT' }] }));
    const { code, output } = await upkeep('licences.mjs', [folder]);
    expect(code).toBe(1);
    expect(output.trim().split('\n').slice(1).map((line) => line.trim())).toEqual([
      'bad@1.2.3: AGPL-3.0',
      'both@1.0.0: MIT AND GPL-2.0',
      'shipped@1.0.0: MPL-2.0',
      'none@1.0.0: no licence',
    ]); // prettier-ignore
  });
});

describe('the audit', () => {
  /** Asks a registry that answers as it is told; undefined is silence. */
  async function audit(answer: object | number | undefined, timeoutMs = 30_000): ReturnType<typeof upkeep> {
    const registry = createServer(({ method, url = '' }, response) => {
      if (answer === undefined) return;
      // What npm asks of a package that an advisory is about: which versions there are.
      const name = decodeURIComponent(url.slice(1));
      const versions = { '4.1.1': { name, version: '4.1.1' } };
      if (method === 'GET')
        return void response.end(JSON.stringify({ name, versions, 'dist-tags': { latest: '4.1.1' } }));
      if (typeof answer === 'number') return void response.writeHead(answer).end();
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify(answer));
    }).listen(0, '127.0.0.1');
    await once(registry, 'listening');
    const { port } = registry.address() as AddressInfo;
    const result = await upkeep('audit.mjs', [], {
      npm_config_registry: `http://127.0.0.1:${port}/`,
      npm_config_cache: mkdtempSync(join(tmpdir(), 'ws-gateway-npm-')),
      AUDIT_TIMEOUT_MS: String(timeoutMs),
    });
    registry.closeAllConnections();
    registry.close();
    return result;
  }

  it('passes without advisories', async () => {
    expect(await audit({})).toEqual({ code: 0, output: 'audit: no advisories\n' });
  });

  it('names those about what comes with the package, whatever their severity', async () => {
    const advisory = { id: 1, url: 'https://github.com/advisories/GHSA-1', title: 'A hole', severity: 'low', vulnerable_versions: '<99' }; // prettier-ignore
    const { code, output } = await audit({ 'secure-json-parse': [advisory] });
    expect(code).toBe(1);
    expect(output).toContain('secure-json-parse: low, A hole (https://github.com/advisories/GHSA-1)');
  });

  it.each([
    ['that has no audit', 405, 30_000],
    ['that is out of order', 500, 30_000],
    ['that does not answer', undefined, 3_000],
  ])('says that it has been skipped for a registry %s', async (_, answer, timeoutMs) => {
    const { code, output } = await audit(answer, timeoutMs);
    expect(output).toMatch(/^audit: SKIPPED, the registry has not answered \(.+\)\n$/);
    expect(code).toBe(0);
  });
});

describe('the bill of materials', () => {
  it('is CycloneDX, has what comes with the package, and nothing that only its development needs', async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'ws-gateway-')), 'sbom.cdx.json');
    const { code, output } = await upkeep('sbom.mjs', [file]);
    expect([code, output]).toEqual([0, expect.stringMatching(/^sbom: \d+ packages/)]);
    const text = readFileSync(file, 'utf8');
    const bom = JSON.parse(text) as {
      bomFormat: string;
      metadata: { component: { name: string; version: string } };
      components: { name: string; version: string; purl: string; hashes?: unknown[]; licenses?: unknown[] }[];
    };
    const { version } = JSON.parse(read('package.json')) as { version: string };
    expect(bom.bomFormat).toBe('CycloneDX');
    expect(bom.metadata.component).toMatchObject({ name: 'nestjs-ws-gateway', version });
    const names = new Set(bom.components.map(({ name }) => name));
    for (const name of [...Object.keys(manifest.dependencies), 'pino', '@nestjs/core', 'class-validator', 'jsonwebtoken']) expect([name, names.has(name)]).toEqual([name, true]); // prettier-ignore
    for (const name of ['vitest', 'prettier', 'oxlint', 'fast-check']) expect([name, names.has(name)]).toEqual([name, false]); // prettier-ignore
    for (const { purl, hashes, licenses } of bom.components) expect([purl, hashes?.length, licenses?.length]).toEqual([purl, 1, 1]); // prettier-ignore
    for (const path of [root, tmpdir()]) expect(text).not.toContain(path);
  });

  it('is part of every release', () => {
    expect(manifest.scripts.prepack).toContain('release:sbom');
    expect(manifest.scripts['release:sbom']).toContain('dist/sbom.cdx.json');
  });
});

describe('tests on another line of Node', () => {
  it('take a line', async () => {
    for (const args of [[], ['nonsense'], ['24; rm']]) {
      const { code, output } = await upkeep('test-node.mjs', args);
      expect([code, output]).toEqual([2, expect.stringContaining('takes a line of Node')]);
    }
  });

  it('say so where that line cannot be had', async () => {
    const { code, output } = await upkeep('test-node.mjs', ['24'], {
      npm_config_registry: 'http://127.0.0.1:1/',
      npm_config_cache: mkdtempSync(join(tmpdir(), 'ws-gateway-npm-')),
    });
    expect(output).toBe("test:node: NOT TESTED, Node 24 is neither in npm's cache nor to be had from the registry\n");
    expect(code).toBe(1);
  });
});
