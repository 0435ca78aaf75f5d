import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { readConfiguration } from '../../../src/service/configuration/configuration.js';
import type { ServiceConfiguration } from '../../../src/service/configuration/configuration.js';
import { run, stopServices } from '../../support/service.js';
import { SECRET } from '../../support/tokens.js';

const file = join(mkdtempSync(join(tmpdir(), 'ws-gateway-upstreams-')), 'options.json');

function read(options: object, upstreams?: Parameters<typeof readConfiguration>[3]): ServiceConfiguration {
  writeFileSync(file, JSON.stringify(options));
  return readConfiguration({ JWT_SECRET: SECRET, WS_GATEWAY_CONFIG: file }, false, undefined, upstreams);
}

const urls = ['ws://127.0.0.1:9000'];

afterEach(stopServices);

it('the file has applications by path, and the service no events of its own then', () => {
  expect(read({ upstreams: { '/chat': { urls } } })).toMatchObject({ fronts: ['/chat'], gateway: { path: '/chat' } });
  expect(read({ path: '/own', upstreams: { '/chat': { urls } } }).gateway.path).toBe('/own');
  expect(read({}).fronts).toEqual([]);
});

it('the command line wins over the file, member by member', () => {
  const { gateway, fronts } = read(
    { upstreams: { '/a': { urls, restMs: 1 } } },
    { '/a': { urls: ['ws://b'] }, '/c': { urls } },
  );
  expect(gateway.upstreams).toEqual({ '/a': { urls: ['ws://b'], restMs: 1 }, '/c': { urls } });
  expect(fronts).toEqual(['/a', '/c']);
});

it.each([
  [[], 'ws-gateway proxy needs an application: --to ws://127.0.0.1:9000'],
  [['--to', 'http://x'], 'upstreams["/{*path}"].urls must hold URLs as ws://127.0.0.1:9000'],
  [['--to', 'ws://x', '--path', 'chat'], 'upstreams["chat"] must be a path'],
  [
    ['--to', 'ws://x', '--path', '/a:'],
    'upstreams["/a:"] cannot be read: A gateway\'s path cannot be read: Missing parameter name at index 3: /a:',
  ],
  [['--to', 'ws://x/:b', '--path', '/a'], 'upstreams["/a"] cannot be read: ws://x/:b needs "b"'],
])('`ws-gateway proxy %j` says what is wrong', async (args, problem) => {
  const { exited, output } = run(['proxy', ...args], { JWT_SECRET: SECRET });
  expect(await exited).toBe(1);
  expect(output()).toContain(problem);
  expect(output()).not.toContain('    at ');
});
