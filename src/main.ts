#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { UsageError } from './service/command/errors.js';

const HELP = `ws-gateway: a WebSocket gateway with JWT sessions, validation and coded errors

  ws-gateway                 starts the service, configured by the environment (see README.md)
  ws-gateway proxy --to URL  the same in front of a WebSocket application: ws://127.0.0.1:9000; several --to are tried in their order
      --path PATH            what clients ask for; default "/{*path}", which is any
      --json                 lets no text pass that is not JSON
  ws-gateway try [options]   sends one request to a gateway, prints its frames and explains a failure
      --url URL              default ws://127.0.0.1:8765/ws
      --token TOKEN          a JWT, sent as the Authorization header
      --event EVENT          any event that the gateway handles
      --data JSON            the data of the event: --event order.place --data '{"article":"tea","amount":1}'
      --text TEXT            short for --event message --data '{"text":"TEXT"}'; default "hello"
      --raw TEXT             sends the text as it is, to an application behind the gateway; its first message is the answer
      --insecure             accepts a certificate that no known authority signed
                             exit code: 0 answered, 1 refused, 2 no connection or no answer
  ws-gateway token --sub SUBJECT [options]
                             prints a token for development, signed by HMAC with the gateway's secret;
                             issuer and audience are the first of JWT_ISSUER and of JWT_AUDIENCE
      --role ROLE            a role; may be given several times
      --scope SCOPE          a scope; may be given several times
      --expires TIME         30s, 15m, 1h or 7d; default 1h
      --secret-env NAME      the environment variable that holds the secret; default JWT_SECRET
  ws-gateway audit verify FILE... [--head HASH]
                             says whether an audit is intact; its older files may stand in any order, and
                             the variable AUDIT_KEY holds its key
      --head HASH            the hash of a record that the audit must have
  ws-gateway audit head FILE prints the hash of the last record
  ws-gateway --help | --version
`;

type Command = (args: string[], environment: NodeJS.ProcessEnv) => number | undefined | Promise<number | undefined>;

/** What a command needs is loaded when it runs: the packages of the service are optional, and not every command needs them. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  start: async () => (await import('./service/start.js')).startCommand,
  proxy: async () => (await import('./service/start.js')).proxyCommand,
  try: async () => (await import('./service/command/try.js')).tryCommand,
  token: async () => (await import('./service/command/token.js')).tokenCommand,
  audit: async () => (await import('./service/command/audit-command.js')).auditCommand,
};

/** @returns the exit code, or undefined while the service runs */
async function main(args: string[]): Promise<number | undefined> {
  if (args.includes('--help') || args.includes('-h')) return print(HELP);
  const [first = 'start', ...rest] = args;
  if (first === '--version' || first === '-v') return print(`${manifest().version}\n`);
  const load = Object.hasOwn(COMMANDS, first) ? COMMANDS[first] : undefined;
  if (load === undefined) throw new UsageError(`Unknown command: ${first}`);
  const command = await load();
  return command(rest, process.env);
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

interface Manifest {
  readonly version: string;
  readonly optionalDependencies: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
}

function manifest(): Manifest {
  return JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as Manifest;
}

/** What is printed about an error: a sentence where the person who started the command can mend it, else the stack. */
function explain(error: unknown): string {
  const { name, code, message, stack } = error as NodeJS.ErrnoException;
  if (code?.startsWith('ERR_PARSE_ARGS') || name === 'UsageError') return `${message}\n\n${HELP}`;
  if (['ConfigurationError', 'CommandError', 'MissingPackageError'].includes(name)) return message;
  return (code === 'ERR_MODULE_NOT_FOUND' && missingPackages(message)) || (stack ?? message);
}

/** Names the package that an import did not find, and every other one that the service will not find; undefined for other modules. */
function missingPackages(message: string): string | undefined {
  const { optionalDependencies, peerDependencies } = manifest();
  const ranges: Readonly<Record<string, string>> = { ...peerDependencies, ...optionalDependencies };
  const [, name = ''] = /^Cannot find package '([^']+)'/.exec(message) ?? [];
  if (!Object.hasOwn(ranges, name)) return undefined;
  const needed = ['@nestjs/platform-express', ...Object.keys(optionalDependencies)];
  const missing = new Set([name, ...needed.filter((other) => !isInstalled(other))]);
  const specifiers = [...missing].map((other) => `${other}@${/0\.\d+|\d+/.exec(ranges[other] ?? '')?.[0] ?? 'latest'}`);
  return `ws-gateway needs packages that are not installed: npm install ${specifiers.join(' ')}`;
}

function isInstalled(name: string): boolean {
  try {
    import.meta.resolve(name);
    return true;
  } catch {
    return false; // it throws for a package that it does not find
  }
}

try {
  const exitCode = await main(process.argv.slice(2));
  if (exitCode !== undefined) process.exitCode = exitCode;
} catch (error) {
  process.stderr.write(`${explain(error)}\n`);
  process.exit(1);
}
