import { execFile } from 'node:child_process';
import { readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { installPackage, root } from './support/installed-package.js';
import { token } from './support/tokens.js';

const execute = promisify(execFile);
let folder: string;
let installed: string;
let remove: () => void;

beforeAll(async () => {
  ({ folder, installed, remove } = await installPackage());
});

afterAll(() => remove());

it('exports these names and no other', async () => {
  const names = [...readFileSync(join(root, 'src/index.ts'), 'utf8').matchAll(/export (type )?\{([^}]*)\}/g)].flatMap(
    ([, type = '', list = '']) => list.split(',').map((name) => name.trim() && name.trim() + (type && ' (type)')),
  );
  const sorted = names.filter((name) => name !== '').toSorted((a, b) => (a < b ? -1 : 1));
  await expect(`${sorted.join('\n')}\n`).toMatchFileSnapshot('public-names.txt');
});

describe('the packed package', () => {
  it('holds what it needs and nothing of the tests', async () => {
    const files = await readdir(installed, { recursive: true });
    for (const file of [
      'dist/index.js',
      'dist/index.d.ts',
      'dist/main.js',
      'dist/protocol/PROTOCOL.md',
      'dist/monitoring/dashboards/grafana.json',
      'dist/monitoring/dashboards/alerts.yml',
      'src/protocol/PROTOCOL.md',
      'src/authentication/README.md',
      'src/service/README.md',
      'README.md',
      'LICENSE',
      'CHANGELOG.md',
      'SECURITY.md',
    ]) {
      expect(files).toContain(file);
    }
    expect(files.filter((file) => /test|\.tgz$/.test(file))).toEqual([]);
  });

  it('has what its Markdown files link to, the tests apart', async () => {
    const files = await readdir(installed, { recursive: true });
    const missing = files
      .filter((name) => name.endsWith('.md'))
      .flatMap((file) =>
        [...readFileSync(join(installed, file), 'utf8').matchAll(/\]\((?!https?:)([^)#]+)/g)]
          .map(([, target = '']) => join(file, '..', target))
          .filter((path) => !path.startsWith('test/') && !files.includes(path)),
      );
    expect(missing).toEqual([]);
  });

  it('works in an empty Nest application', async () => {
    writeFileSync(
      join(folder, 'app.mjs'),
      `import 'reflect-metadata';
       import { Module } from '@nestjs/common';
       import { NestFactory } from '@nestjs/core';
       import { WebSocket } from 'ws';
       import { WsGatewayModule } from 'nestjs-ws-gateway';
       class AppModule {}
       Module({ imports: [WsGatewayModule.forRoot({ auth: { jwt: { secret: process.env.SECRET } } })] })(AppModule);
       const app = await NestFactory.create(AppModule, { logger: false });
       await app.listen(0, '127.0.0.1');
       const socket = new WebSocket('ws://127.0.0.1:' + app.getHttpServer().address().port + '/ws');
       socket.on('open', () => socket.send(process.env.TOKEN));
       socket.on('message', (frame) => { console.log(JSON.parse(frame).data.subject); socket.close(); });
       socket.on('close', () => app.close());`,
    );
    const env = { PATH: process.env.PATH, SECRET: 'a-secret-for-tests-of-at-least-32-bytes', TOKEN: token() };
    const { stdout } = await execute(process.execPath, [join(folder, 'app.mjs')], { env });
    expect(stdout).toBe('ada\n');
  });

  it('says what to install where fields are sealed and jose is missing', async () => {
    rmSync(join(folder, 'node_modules', 'jose'));
    writeFileSync(
      join(folder, 'seal.mjs'),
      `import { KeyRing, WsSeal } from 'nestjs-ws-gateway';
       await WsSeal.create(undefined);
       await WsSeal.create(KeyRing.ofProcess()).catch(({ message }) => console.log(message));`,
    );
    const { stdout } = await execute(process.execPath, [join(folder, 'seal.mjs')]);
    expect(stdout).toBe('Sealed fields need the package jose: npm install jose@6\n');
  });

  it('says in one sentence what the service lacks, without a stack', async () => {
    const lack = async (name: string, environment: Record<string, string>): Promise<string> => {
      const link = join(folder, 'node_modules', name);
      const target = readlinkSync(link);
      rmSync(link);
      const env = { PATH: process.env.PATH, PORT: '0', LOG_LEVEL: 'silent', ...environment };
      const main = execute(process.execPath, [join(installed, 'dist', 'main.js')], { env, timeout: 15_000 });
      const { code, stdout, stderr } = await main.catch((error: { code: number; stdout: string; stderr: string }) => error) as { code?: number; stdout: string; stderr: string }; // prettier-ignore
      symlinkSync(target, link);
      expect([code, stdout]).toEqual([1, '']);
      return stderr;
    };
    const JWKS_URI = 'https://issuer.example.com/keys';
    // Node does not find what prom-client itself requires where prom-client is a link.
    const WS_GATEWAY_CONFIG = join(folder, 'options.json');
    writeFileSync(WS_GATEWAY_CONFIG, JSON.stringify({ monitoring: { metrics: false } }));
    const published = { JWKS_URI, JWT_ISSUER: 'issuer', JWT_AUDIENCE: 'audience', WS_GATEWAY_CONFIG };
    const secret = { JWT_SECRET: 'a-secret-for-tests-of-at-least-32-bytes' };
    const service = 'ws-gateway needs packages that are not installed: npm install';
    expect(await lack('@nestjs/platform-express', secret)).toBe(`${service} @nestjs/platform-express@12\n`);
    expect(await lack('pino', secret)).toBe(`${service} pino@10\n`);
    expect(await lack('class-validator', secret)).toBe(`${service} class-validator@0.15\n`);
    expect(await lack('prom-client', secret)).toBe(
      'Metrics need the package prom-client: npm install prom-client@15\n',
    );
    expect(await lack('jwks-rsa', published)).toBe(
      'Keys of a JWKS URI need the package jwks-rsa: npm install jwks-rsa@4\n',
    );
  });

  it('has a command', async () => {
    const { stdout } = await execute(process.execPath, [join(installed, 'dist', 'main.js'), '--version']);
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it('has types that a strict application compiles against, without skipLibCheck', { timeout: 60_000 }, async () => {
    writeFileSync(
      join(folder, 'app.mts'),
      `import { GatewayError, WsGatewayModule, WsSession, WsSessions, type ErrorCode, type WsGatewayOptions } from 'nestjs-ws-gateway';
       const options: WsGatewayOptions = { auth: { jwt: { secret: 'x' }, sources: ['header'] } };
       const code: ErrorCode = new GatewayError('ORDER_CLOSED', { details: [1] }).code;
       export const send = (session: WsSession): boolean => session.send('event', { subject: session.principal?.subject, code });
       export const imported = WsGatewayModule.forRoot(options);
       export class Baskets {
         constructor(private readonly sessions: WsSessions) {}
         sum(socket: object): number {
           return WsSession.of<{ sum?: number }>(socket).state.sum ?? this.sessions.find({ subject: 'ada' }).length;
         }
       }
       declare const session: WsSession;
       declare const sessions: WsSessions;
       // @ts-expect-error the product's own
       session.intake;
       // @ts-expect-error
       session.end(1);
       // @ts-expect-error
       session.server;
       // @ts-expect-error
       session.socket.flush();
       // @ts-expect-error
       sessions.endAll();
       // @ts-expect-error
       new WsSession();
       // @ts-expect-error a source that does not exist
       WsGatewayModule.forRoot({ auth: { jwt: {}, sources: ['nowhere'] } });`,
    );
    const compilerOptions = {
      noEmit: true,
      strict: true,
      module: 'nodenext',
      target: 'es2023',
      experimentalDecorators: true,
      types: ['node'],
      typeRoots: [join(root, 'node_modules', '@types')],
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['app.mts'] }));
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const compiling = execute(process.execPath, [tsc, '-p', folder]).catch(({ stdout }: { stdout: string }) => ({
      stdout,
    }));
    expect((await compiling).stdout).toBe(''); // tsc says there what is wrong
  });
});
