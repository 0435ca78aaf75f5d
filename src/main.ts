#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { auditCommand } from './service/command/audit-command.js';
import { tryOut } from './service/command/try.js';
import { UsageError } from './service/command/usage-error.js';

const HELP = `ws-gateway: a WebSocket gateway with JWT sessions, validation and coded errors

  ws-gateway                 starts the service, configured by the environment (see README.md)
  ws-gateway try [options]   sends a message to a gateway and prints the answer
      --url URL              default ws://127.0.0.1:8765/ws
      --token TOKEN          a JWT, sent as the Authorization header
      --text TEXT            what to send, default "hello"
      --insecure             take a certificate that nobody vouches for
  ws-gateway audit verify FILE... [--head HASH]
                             says whether an audit is intact, with its older files in any order; AUDIT_KEY is its key
      --head HASH            the hash of a record that must be there
  ws-gateway audit head FILE prints the hash of the last record
  ws-gateway --help | --version
`;

/** @returns the exit code, or undefined while the service runs */
async function main(args: string[]): Promise<number | undefined> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      url: { type: 'string', default: 'ws://127.0.0.1:8765/ws' },
      token: { type: 'string' },
      text: { type: 'string', default: 'hello' },
      insecure: { type: 'boolean' },
      head: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean', short: 'v' },
    },
  });
  const [command = 'start', ...excess] = positionals;
  if (values.help) return print(HELP);
  if (values.version) return print(`${version()}\n`);
  if (command === 'audit') {
    return auditCommand({ args: excess, head: values.head, key: process.env.AUDIT_KEY?.trim() || undefined });
  }
  if (excess.length > 0 || !['start', 'try'].includes(command))
    throw new UsageError(`Unknown command: ${positionals.join(' ')}`);
  if (command === 'try') {
    const { url, token, text, insecure = false } = values;
    try {
      return await tryOut({ url, token, text, insecure });
    } catch (error) {
      throw new UsageError((error as Error).message);
    }
  }
  const { start } = await import('./service/start.js'); // its packages are optional, so they are loaded when used
  await start();
  return undefined;
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

function version(): string {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return manifest.version;
}

/** One message for whoever started it: a mistake of theirs without a stack, anything else with one. */
function explain(error: unknown): string {
  const { name, code, message, stack } = error as NodeJS.ErrnoException;
  const optional = /'(@nestjs\/platform-express|pino|pino-pretty)'/;
  if (code === 'ERR_MODULE_NOT_FOUND' && optional.test(message)) {
    return `${message}\nThe service needs what the module alone does not: npm install @nestjs/platform-express pino pino-pretty`;
  }
  if (code?.startsWith('ERR_PARSE_ARGS') || error instanceof UsageError) return `${message}\n\n${HELP}`;
  return name === 'ConfigurationError' ? message : (stack ?? message);
}

try {
  const exitCode = await main(process.argv.slice(2));
  if (exitCode !== undefined) process.exitCode = exitCode;
} catch (error) {
  process.stderr.write(`${explain(error)}\n`);
  process.exit(1);
}
