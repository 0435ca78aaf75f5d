import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { installPackage, root } from './support/installed-package.js';

const execute = promisify(execFile);
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const section = readme.slice(readme.indexOf('## In a Nest application'), readme.indexOf('## Life of a frame'));
const blocks = (language: string): string[] =>
  [...section.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(([, code = '']) => code);

/** What `npx @nestjs/cli@12 new` makes, as far as it matters here. */
const MAIN = `import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';

async function bootstrap() {
  const app = await NestFactory.create(AppModule);
  await app.listen(process.env.PORT ?? 3000);
}
await bootstrap();
`;
const COMPILER_OPTIONS = {
  module: 'nodenext',
  moduleResolution: 'nodenext',
  isolatedModules: true,
  emitDecoratorMetadata: true,
  experimentalDecorators: true,
  target: 'ES2023',
  outDir: './dist',
  rootDir: './src',
  skipLibCheck: true,
  strict: true,
  strictPropertyInitialization: false,
  types: ['node'],
};

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // because it listens on TCP
  server.close();
  await once(server, 'close');
  return port;
}

describe('a newcomer, from an empty folder by the lines of the README', () => {
  let folder: string;
  let remove: () => void;
  let application: ChildProcess | undefined;
  let port: number;
  const [, starting = '', calling = ''] = blocks('sh');

  beforeAll(async () => {
    let installed: string;
    ({ folder, installed, remove } = await installPackage(['@types/node']));
    chmodSync(join(installed, 'dist', 'main.js'), 0o755); // as npm does
    mkdirSync(join(folder, 'node_modules', '.bin'));
    symlinkSync('../nestjs-ws-gateway/dist/main.js', join(folder, 'node_modules', '.bin', 'ws-gateway'));
    mkdirSync(join(folder, 'src'));
    const [appModule = '', gateway = ''] = blocks('ts');
    for (const [name, text] of Object.entries({ 'app.module': appModule, 'orders.gateway': gateway, main: MAIN }))
      writeFileSync(join(folder, 'src', `${name}.ts`), text);
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: COMPILER_OPTIONS }));
    const start = 'tsc && node dist/main.js';
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: 'module', scripts: { start } }));
    symlinkSync(join(root, 'node_modules', 'typescript', 'bin', 'tsc'), join(folder, 'node_modules', '.bin', 'tsc'));

    port = await freePort();
    application = spawn('sh', ['-ec', starting], { cwd: folder, env: environment(), detached: true });
    let printed = '';
    for (const stream of [application.stdout, application.stderr]) stream?.on('data', (text) => (printed += text));
    while (!printed.includes('successfully started')) {
      if (application.exitCode !== null) throw new Error(printed);
      await setTimeout(50);
    }
  }, 60_000);

  afterAll(() => {
    if (application?.pid !== undefined && application.exitCode === null) process.kill(-application.pid);
    remove();
  });

  const environment = () => ({ PATH: process.env.PATH, HOME: folder, PORT: String(port), npm_config_offline: 'true' });

  /** The lines of the second terminal, with the port of this test. */
  async function call(change: (lines: string) => string): Promise<string> {
    const lines = change(calling.replace('localhost:3000', `localhost:${port}`));
    const running = execute('sh', ['-c', lines], { cwd: folder, env: environment() });
    const { stdout, stderr } = await running.catch((error: { stdout: string; stderr: string }) => error);
    return stdout + stderr;
  }

  it('gets the answer that the README says', async () => {
    const [, answer = ''] = /The answer is `([^`]+)`/.exec(section) ?? [];
    expect(answer).toContain('"placedBy":"ada"');
    expect(await call((lines) => lines)).toContain(answer);
  });

  it.each([
    ['VALIDATION_FAILED', '"amount":1', '"amount":-1'],
    ['ORDER_CLOSED', '"article":"tea"', '"article":"sold-out"'],
    ['FORBIDDEN', ' --role buyer', ''],
  ])('and %s for the change that it names', async (code, from, to) => {
    expect(calling).toContain(from);
    expect(await call((lines) => lines.replace(from, to))).toContain(`"code":"${code}"`);
  });
});
