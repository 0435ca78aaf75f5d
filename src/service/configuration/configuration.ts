import { randomBytes } from 'node:crypto';
import { closeSync, fstatSync, openSync } from 'node:fs';
import type { JsonSchema } from '../../base/options.js';
import { MIN_AUDIT_KEY_BYTES } from '../../monitoring/audit/audit-record.js';
import { DISCLOSURES, PRIVACY } from '../../monitoring/options.js';
import { isJsonObject } from '../../protocol/message.js';
import { resolveOptions, WS_GATEWAY, WsGatewayOptionsError } from '../../ws-gateway.options.js';
import type { WsGatewayOptions } from '../../ws-gateway.options.js';
import type { UpstreamOptions } from '../../proxy/options.js';
import { readFile } from './files.js';
import { isHostPattern } from '../http/hosts.js';
import { readTls } from './tls.js';
import type { TlsFiles, TlsMaterial } from './tls.js';

/** The configuration of the standalone service, from its environment and its file. */
export interface ServiceConfiguration {
  /** Address to listen on. @default '127.0.0.1' */
  readonly host: string;
  /** Port to listen on; 0 takes a free one. @default 8765 */
  readonly port: number;
  /** Names that it answers to beside localhost and loopback addresses; undefined: on loopback only those, elsewhere any. */
  readonly allowedHosts: readonly string[] | undefined;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  readonly errorLogFile: string | undefined;
  readonly tls: TlsMaterial | undefined;
  readonly tlsFiles: TlsFiles;
  /** `AUDIT_LOG_FILE` and `AUDIT_KEY`; undefined when there is no audit. */
  readonly audit: { readonly path: string; readonly key: string | undefined } | undefined;
  /** True when everybody may read the metrics. @default false */
  readonly metricsPublic: boolean;
  /** Whether the console is at `/`. @default true unless NODE_ENV is production */
  readonly console: boolean;
  readonly gateway: WsGatewayOptions;
  /** Paths with an application behind them. Where there are some, the service's own events are not served. */
  readonly fronts: readonly string[];
  /** Whether `email` asks the DNS if an address can be delivered to. @default false */
  readonly checkMx: boolean;
  /** The secret that was made up because no key is configured; never in production. */
  readonly ephemeralSecret: string | undefined;
}

export const LOG_LEVELS = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export const LOG_FORMATS = ['json', 'pretty'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** The environment is wrong: one message that names everything. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';

  constructor(readonly problems: readonly string[]) {
    super(`The configuration is not valid:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`);
  }
}

/** Which option of the module a variable sets, so that a complaint can name what the operator wrote. */
const OPTION_OF = {
  JWT_SECRET: 'auth.jwt.secret',
  JWT_PUBLIC_KEY: 'auth.jwt.publicKey',
  JWKS_URI: 'auth.jwt.jwksUri',
  JWT_ALGORITHMS: 'auth.jwt.algorithms',
  JWT_ISSUER: 'auth.jwt.issuer',
  JWT_AUDIENCE: 'auth.jwt.audience',
  AUTH_SOURCES: 'auth.sources',
  AUTH_COOKIE: 'auth.cookie',
  ALLOWED_ORIGINS: 'firewall.origins',
  TRUST_PROXY: 'firewall.trustProxy',
  MAX_MESSAGE_BYTES: 'limits.maxMessageBytes',
  SHUTDOWN_DRAIN_MS: 'shutdown.drainMs',
  DATA_KEYS: 'sealing.keys',
  FINGERPRINT_KEYS: 'fingerprints.keys',
  EMAIL_DNS_SERVERS: 'email.servers',
  LOG_PSEUDONYM_KEY: 'privacy.key',
  REDIS_URL: 'cluster.redis',
  CLUSTER_NAME: 'cluster.name',
  NODE_NAME: 'cluster.node',
} as const;

const KEY_VARIABLES = ['JWT_SECRET', 'JWT_PUBLIC_KEY', 'JWKS_URI'] as const;
const KEY_OPTIONS = ['secret', 'secrets', 'publicKey', 'publicKeys', 'jwksUri'] as const;

type Tree = Record<string, unknown>;

/**
 * Reads and checks the configuration as a whole. The environment wins over the file of `WS_GATEWAY_CONFIG`; an empty
 * variable counts as unset.
 *
 * @param before what the service has started with, when it is read anew: the secret that was made up then stays
 * @param upstreams of the command line; they win over those of the file
 * @throws ConfigurationError naming everything that is wrong
 */
export function readConfiguration(
  environment: NodeJS.ProcessEnv,
  isTerminal: boolean,
  before?: ServiceConfiguration,
  upstreams: Readonly<Record<string, UpstreamOptions>> = {},
): ServiceConfiguration {
  const problems: string[] = [];
  const get = (name: string): string | undefined => environment[name]?.trim() || undefined;
  const list = (name: string): string[] | undefined =>
    get(name)
      ?.split(',')
      .map((item) => item.trim());
  const oneOf = <T extends string>(name: string, allowed: readonly T[], value: unknown): T => {
    if (!allowed.includes(value as T))
      problems.push(`${name} must be one of ${allowed.join(', ')}, got ${JSON.stringify(value)}`);
    return value as T;
  };

  const { $schema: _, logLevel: levelOfFile = 'info', ...options } = optionsFile(get('WS_GATEWAY_CONFIG'), problems);
  const publicKey = publicKeyOf(get('JWT_PUBLIC_KEY'), problems);
  if (KEY_VARIABLES.some((name) => get(name) !== undefined)) {
    // A key of the environment takes the place of the file's, whatever kind that was.
    for (const option of KEY_OPTIONS) assign(options, `auth.jwt.${option}`, undefined);
  }
  const given: Record<keyof typeof OPTION_OF, unknown> = {
    JWT_SECRET: get('JWT_SECRET'),
    JWT_PUBLIC_KEY: publicKey,
    JWKS_URI: get('JWKS_URI'),
    JWT_ALGORITHMS: list('JWT_ALGORITHMS'),
    JWT_ISSUER: get('JWT_ISSUER') === 'false' ? false : list('JWT_ISSUER'),
    JWT_AUDIENCE: get('JWT_AUDIENCE') === 'false' ? false : list('JWT_AUDIENCE'),
    AUTH_SOURCES: list('AUTH_SOURCES'),
    AUTH_COOKIE: get('AUTH_COOKIE'),
    ALLOWED_ORIGINS: list('ALLOWED_ORIGINS'),
    TRUST_PROXY: trustProxyOf(get('TRUST_PROXY'), list('TRUST_PROXY')),
    MAX_MESSAGE_BYTES: numberOf(get('MAX_MESSAGE_BYTES')),
    SHUTDOWN_DRAIN_MS: numberOf(get('SHUTDOWN_DRAIN_MS')),
    DATA_KEYS: get('DATA_KEYS'),
    FINGERPRINT_KEYS: get('FINGERPRINT_KEYS'),
    EMAIL_DNS_SERVERS: list('EMAIL_DNS_SERVERS'),
    LOG_PSEUDONYM_KEY: get('LOG_PSEUDONYM_KEY'),
    REDIS_URL: get('REDIS_URL'),
    CLUSTER_NAME: get('CLUSTER_NAME'),
    NODE_NAME: get('NODE_NAME'),
  };
  for (const [field, disclosure] of disclosuresOf(get('LOG_PERSONAL_DATA'), problems)) {
    assign(options, `privacy.${field}`, disclosure);
  }
  if (!isJsonObject(options.monitoring) || options.monitoring.metrics === undefined) {
    assign(options, 'monitoring.metrics', true);
  }
  const fronts = frontsOf(options, upstreams);
  for (const [name, value] of Object.entries(given)) {
    if (value !== undefined) assign(options, OPTION_OF[name as keyof typeof OPTION_OF], value);
  }

  const madeUp = (): string => before?.ephemeralSecret ?? randomBytes(32).toString('base64url');
  const ephemeralSecret = needsSecret(options, get, problems) ? madeUp() : undefined;
  if (ephemeralSecret !== undefined) assign(options, OPTION_OF.JWT_SECRET, ephemeralSecret);
  problems.push(...optionProblems(options, given));

  const port = numberOf(get('PORT')) ?? 8765;
  if (typeof port !== 'number' || port > 65_535)
    problems.push(`PORT must be an integer from 0 to 65535, got ${JSON.stringify(port)}`);
  const tlsFiles = { cert: get('TLS_CERT_FILE'), key: get('TLS_KEY_FILE'), clientCa: get('TLS_CLIENT_CA_FILE') };
  problems.push(...certificateProblems(options, tlsFiles));
  const levelName = get('LOG_LEVEL') === undefined ? 'logLevel' : 'LOG_LEVEL';
  const logLevel = oneOf(levelName, LOG_LEVELS, get('LOG_LEVEL') ?? levelOfFile);
  const configuration: ServiceConfiguration = {
    host: get('HOST') ?? '127.0.0.1',
    port: Number(port),
    allowedHosts: hostsOf(list('ALLOWED_HOSTS'), problems),
    logLevel,
    logFormat: oneOf('LOG_FORMAT', LOG_FORMATS, get('LOG_FORMAT') ?? (isTerminal ? 'pretty' : 'json')),
    errorLogFile: writable('ERROR_LOG_FILE', get('ERROR_LOG_FILE'), problems),
    tls: readTls(tlsFiles, problems),
    tlsFiles,
    audit: auditOf(get('AUDIT_LOG_FILE'), get('AUDIT_KEY'), problems),
    metricsPublic: oneOf('METRICS_PUBLIC', ['true', 'false'], get('METRICS_PUBLIC') ?? 'false') === 'true',
    console: oneOf('CONSOLE', ['true', 'false'], get('CONSOLE') ?? String(get('NODE_ENV') !== 'production')) === 'true',
    fronts,
    gateway: options as unknown as WsGatewayOptions, // because optionProblems() has found nothing wrong with it
    checkMx: oneOf('EMAIL_CHECK_MX', ['true', 'false'], get('EMAIL_CHECK_MX') ?? 'false') === 'true',
    ephemeralSecret,
  };
  if (problems.length > 0) throw new ConfigurationError(problems);
  return configuration;
}

/**
 * Adds the upstreams of the command line. The path of the service's own events is the first of them then, since they are not served.
 *
 * @returns the paths of all
 */
function frontsOf(options: Tree, given: Readonly<Record<string, UpstreamOptions>>): string[] {
  if (options.upstreams === undefined && Object.keys(given).length === 0) return [];
  const ofFile = options.upstreams ?? {};
  if (!isJsonObject(ofFile)) return []; // optionProblems() names it
  const merged = Object.entries(given).map(([path, one]) => [
    path,
    { ...(ofFile[path] as object | undefined), ...one },
  ]); // because it is read later
  options.upstreams = { ...ofFile, ...(Object.fromEntries(merged) as object) };
  const paths = Object.keys(options.upstreams as object); // because it was made here
  if (paths.length > 0) options.path ??= paths[0];
  return paths;
}

/** No key at all: a mistake in production, a first try elsewhere. */
function needsSecret(options: Tree, get: (name: string) => string | undefined, problems: string[]): boolean {
  const { jwt } = (isJsonObject(options.auth) ? options.auth : {}) as { jwt?: unknown };
  const given = isJsonObject(jwt) ? jwt : {};
  const hasKey = [...KEY_OPTIONS, 'issuers'].some((option) => given[option] !== undefined);
  const { shared, byPath } = sourcesOf(options);
  if (shared.length > 0 && [...shared, ...byPath].every((source) => source === 'certificate')) return false;
  if (hasKey || KEY_VARIABLES.some((name) => get(name) !== undefined)) return false;
  if (get('NODE_ENV') === 'production') {
    problems.push('JWT_SECRET or JWT_PUBLIC_KEY is needed when NODE_ENV is production, or JWKS_URI');
  } else if (isJsonObject(options.cluster) && options.cluster.redis !== undefined) {
    problems.push(
      'JWT_SECRET or JWT_PUBLIC_KEY is needed with REDIS_URL, or JWKS_URI: each node would make up a secret of its own',
    );
  }
  return true; // also then: it spares the reader a second complaint about the same thing
}

/** The sources as they are written: none where an option has its default. */
function sourcesOf({ auth, paths }: Tree): {
  readonly shared: readonly unknown[];
  readonly byPath: readonly unknown[];
} {
  const listIn = (given: unknown): readonly unknown[] => {
    const { sources } = isJsonObject(given) ? given : {};
    return Array.isArray(sources) ? sources : [];
  };
  const own = isJsonObject(paths) ? Object.values(paths) : [];
  return { shared: listIn(auth), byPath: own.flatMap((path) => (isJsonObject(path) ? listIn(path.auth) : [])) };
}

/** An authority without the source, or the source without an authority, would leave the operator with a door that he believes shut, or open. */
function certificateProblems(options: Tree, { clientCa }: TlsFiles): string[] {
  const { shared, byPath } = sourcesOf(options);
  const isSource = [...shared, ...byPath].includes('certificate');
  if (isSource && clientCa === undefined) return ['TLS_CLIENT_CA_FILE is needed for the source "certificate"'];
  if (isSource || clientCa === undefined) return [];
  return ['TLS_CLIENT_CA_FILE has no effect unless AUTH_SOURCES has "certificate"'];
}

/** `true` and `false`, a number of hops, or a list of addresses and ranges. */
function trustProxyOf(value: string | undefined, list: string[] | undefined): unknown {
  if (value === 'true' || value === 'false') return value === 'true';
  const hops = numberOf(value);
  return typeof hops === 'number' ? hops : list;
}

function hostsOf(hosts: string[] | undefined, problems: string[]): string[] | undefined {
  if (hosts?.every(isHostPattern) === false) {
    problems.push(
      'ALLOWED_HOSTS must be host names as gateway.example.com, *.example.com, or addresses, without a port',
    );
  }
  return hosts;
}

function optionProblems(options: Tree, given: Record<string, unknown>): string[] {
  try {
    resolveOptions(options);
    return [];
  } catch (error) {
    if (!(error instanceof WsGatewayOptionsError)) throw error;
    return error.problems.map((complaint) => {
      const problem = complaint.replace('or Infinity, got', 'or null, got'); // as a file has it
      const source = Object.entries(OPTION_OF).find(
        ([name, path]) =>
          problem.startsWith(`${path} is needed`) || (given[name] !== undefined && problem.startsWith(`${path} `)),
      );
      return source === undefined ? problem : `${source[0]}${problem.slice(source[1].length)}`;
    });
  }
}

function optionsFile(path: string | undefined, problems: string[]): Tree {
  if (path === undefined) return {};
  const text = readFile('WS_GATEWAY_CONFIG', path, problems)?.toString('utf8');
  if (text === undefined) return {};
  try {
    const value: unknown = JSON.parse(text);
    if (isJsonObject(value)) return withInfinity(value, WS_GATEWAY.schema) as Tree; // because it is an object still
    problems.push(`WS_GATEWAY_CONFIG: ${path} must hold a JSON object`);
  } catch {
    // The parser's message may quote the file, and the file may hold a secret.
    problems.push(`WS_GATEWAY_CONFIG: ${path} is not JSON`);
  }
  return {};
}

/** JSON has no Infinity: where a number may be off, a file has `null`. */
function withInfinity(value: unknown, schema: unknown): unknown {
  const { type, properties, additionalProperties, items } = (schema ?? {}) as JsonSchema; // because what is declared is one
  if (value === null && Array.isArray(type) && type.includes('null')) return Infinity;
  if (Array.isArray(value)) return value.map((item) => withInfinity(item, items));
  if (!isJsonObject(value)) return value;
  const schemaOf = (name: string): unknown => (isJsonObject(properties) && properties[name]) || additionalProperties;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, withInfinity(one, schemaOf(name))]));
}

function publicKeyOf(value: string | undefined, problems: string[]): string | undefined {
  if (value === undefined) return undefined;
  if (value.includes('-----BEGIN')) return value.replaceAll('\\n', '\n'); // how one line of an env file holds a PEM
  return readFile('JWT_PUBLIC_KEY', value, problems)?.toString('utf8');
}

function auditOf(path: string | undefined, key: string | undefined, problems: string[]): ServiceConfiguration['audit'] {
  if (path === undefined) return undefined;
  if (key !== undefined && Buffer.byteLength(key) < MIN_AUDIT_KEY_BYTES) {
    problems.push(`AUDIT_KEY must be at least ${MIN_AUDIT_KEY_BYTES} bytes`);
  }
  return { path, key };
}

/** `masked`, or `subject=pseudonym,address=masked`. */
function disclosuresOf(value: string | undefined, problems: string[]): [field: string, disclosure: string][] {
  if (value === undefined) return [];
  const fields = Object.keys(PRIVACY.fallback);
  const isDisclosure = (text: string): boolean => DISCLOSURES.some((one) => one === text);
  if (isDisclosure(value)) return fields.map((field) => [field, value]);
  const pairs = value.split(',').map((item) => item.split('=', 2).map((part) => part.trim()) as [string, string]);
  const isRight = pairs.every(([field, disclosure = '']) => fields.includes(field) && isDisclosure(disclosure));
  if (isRight) return pairs;
  problems.push(
    `LOG_PERSONAL_DATA must be one of ${DISCLOSURES.join(', ')}, or a list as subject=masked,address=pseudonym of ${fields.join(', ')}`,
  );
  return [];
}

function writable(name: string, path: string | undefined, problems: string[]): string | undefined {
  if (path === undefined) return undefined;
  try {
    const file = openSync(path, 'a', 0o600);
    if (!fstatSync(file).isFile()) problems.push(`${name}: ${path} is not a file`);
    closeSync(file);
  } catch (error) {
    problems.push(`${name}: ${path} cannot be written (${(error as NodeJS.ErrnoException).code})`);
  }
  return path;
}

/** A whole number; anything else is handed on as it is, for the complaint to show. */
function numberOf(value: string | undefined): number | string | undefined {
  return value !== undefined && /^\d{1,15}$/.test(value) ? Number(value) : value;
}

function assign(tree: Tree, path: string, value: unknown): void {
  const keys = path.split('.');
  const last = keys.pop() as string; // because no path is empty
  let node = tree;
  for (const key of keys) {
    if (node[key] === undefined) node[key] = {};
    if (!isJsonObject(node[key])) return; // resolveOptions() names it
    node = node[key];
  }
  if (value === undefined) delete node[last];
  else node[last] = value;
}
