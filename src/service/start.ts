import 'reflect-metadata';
import { relative } from 'node:path';
import { parseArgs } from 'node:util';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo, Server as HttpServer } from 'node:net';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { CorsOptions } from '@nestjs/common/interfaces/external/cors-options.interface.js';
import type { Logger } from 'pino';
import { SystemClock, WsClock } from '../base/clock.js';
import { Doorkeeper } from '../connection/doorkeeper.js';
import { Firewall } from '../firewall/firewall.js';
import { isOriginAllowed } from '../firewall/origins.js';
import type { AuditSink } from '../monitoring/audit/audit-sink.js';
import type { FailureSink } from '../monitoring/log/failure-log.js';
import type { UpstreamOptions } from '../proxy/options.js';
import { WsGatewayReload } from '../reload/ws-gateway-reload.js';
import { DEFAULTS } from '../ws-gateway.options.js';
import { signDemo } from './command/token.js';
import type { MintedClaims } from '../console/options.js';
import { CommandError } from './command/errors.js';
import { openAudit } from './logging/audit.js';
import { ConfigurationError, readConfiguration } from './configuration/configuration.js';
import type { ServiceConfiguration } from './configuration/configuration.js';
import { exposureWarning, isBehindProxy, isPublic } from './configuration/exposure.js';
import { PROBES } from './http/health.controller.js';
import { answersTo } from './http/hosts.js';
import { readsItsOwnBody } from './http/json-body.js';
import { createLog, PinoLogger, PinoSink } from './logging/logging.js';
import { ServiceReload } from './reload.js';
import { ServiceModule } from './service.module.js';
import { onStopSignals } from './stop-signals.js';
import { tlsOptions } from './configuration/tls.js';

/** Largest body of an HTTP request. */
const MAX_BODY = '16kb';

/** How long a demo token is valid, in seconds. */
const DEMO_TOKEN_SECONDS = 3_600;

/**
 * `ws-gateway`, without another command.
 *
 * @returns undefined: the service runs
 * @throws ConfigurationError; an error of parseArgs for any argument
 */
export async function startCommand(args: string[]): Promise<undefined> {
  parseArgs({ args });
  await start();
}

/**
 * `ws-gateway proxy`: the service in front of an application.
 *
 * @returns undefined: the service runs
 * @throws ConfigurationError; CommandError; an error of parseArgs for an option it does not know
 */
export async function proxyCommand(args: string[]): Promise<undefined> {
  const { values } = parseArgs({
    args,
    options: {
      to: { type: 'string', multiple: true, default: [] },
      path: { type: 'string', default: '/{*path}' },
      json: { type: 'boolean', default: false },
    },
  });
  const { to: urls, path, json } = values;
  if (urls.length === 0) throw new CommandError('ws-gateway proxy needs an application: --to ws://127.0.0.1:9000');
  await start({ [path]: { urls, ...(json && { json }) } });
}

/**
 * Starts the standalone service, drains it on SIGTERM and SIGINT and reloads its configuration on SIGHUP.
 *
 * @throws ConfigurationError
 */
export async function start(upstreams: Readonly<Record<string, UpstreamOptions>> = {}): Promise<void> {
  const read = (before?: ServiceConfiguration): ServiceConfiguration =>
    readConfiguration(process.env, process.stdout.isTTY, before, upstreams);
  const configuration = read();
  const clock = new SystemClock();
  const log = await createLog(configuration, clock);
  const { pino } = log;
  const sink = new PinoSink(log, configuration.errorLogFile, clock);
  const audit = configuration.audit && (await openAudit(configuration.audit, clock, pino));
  const app = await createApp(configuration, pino, sink, audit?.sink).catch(async (error: unknown) => {
    await audit?.close(); // it began before anything else, and says how it ended
    throw error;
  });
  const live = app.get(WsGatewayReload);
  const stop = drainOnSignals(app, live, pino, async () => {
    await audit?.close();
    await sink.close();
    await log.output.close();
  });
  new ServiceReload(configuration, () => read(configuration), live, app.getHttpServer(), pino).start();
  try {
    await app.listen(configuration.port, configuration.host);
  } catch (error) {
    await stop();
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (syscall !== 'listen' && syscall !== 'getaddrinfo') throw error;
    const why = code === 'EADDRINUSE' ? 'it is in use' : code;
    throw new ConfigurationError([
      `HOST and PORT: cannot listen on ${configuration.host}:${configuration.port}, ${why}`,
    ]);
  }
  announce(configuration, (app.getHttpServer() as { address(): AddressInfo }).address(), pino);
}

/** True for a body of JSON that is read before the request is handled. */
function isCommonJson({ headers, url }: IncomingMessage): boolean {
  return !readsItsOwnBody(url) && /^application\/json\b/i.test(headers['content-type'] ?? '');
}

/** The service, not yet listening. */
export async function createApp(
  configuration: ServiceConfiguration,
  pino: Logger,
  sink: FailureSink,
  auditSink: AuditSink | undefined,
): Promise<NestExpressApplication> {
  const { tls } = configuration;
  // because Nest's type lacks most of them, and it hands all on to https.createServer()
  const httpsOptions: object | undefined = tls && tlsOptions(tls);
  const module = ServiceModule.forRoot(configuration, sink, auditSink);
  // The adapter is named, not looked for by Nest, which would end the process by itself where it is not installed.
  const app = await NestFactory.create<NestExpressApplication>(module, new ExpressAdapter(), {
    logger: new PinoLogger(pino),
    abortOnError: false,
    bodyParser: false,
    ...(httpsOptions !== undefined && { httpsOptions }),
  });
  app.disable('x-powered-by');
  app.use(app.get(Doorkeeper).middleware(PROBES)); // before all that looks at a request
  app.useBodyParser('json', { limit: MAX_BODY, type: isCommonJson });
  const { options } = app.get(WsGatewayReload);
  app.get(Firewall).admission.restrictHosts((host, isProbe) => {
    // Read for each request: the address is known once the service listens, and a reload may change the proxies.
    const { address } = (app.getHttpServer() as HttpServer).address() as AddressInfo; // because it listens on a port
    const { trustProxy } = options.firewall;
    const rule = { allowed: configuration.allowedHosts, address, isBehindProxy: isBehindProxy(trustProxy) };
    return answersTo(host, rule, isProbe);
  });
  const allow: CorsOptions['origin'] = (origin: string | undefined, callback) => {
    const { origins } = options.firewall; // asked each time, since a reload may change them
    callback(null, origin !== undefined && origins !== undefined && isOriginAllowed(origin, '', origins));
  };
  app.enableCors({
    origin: allow,
    methods: ['GET', 'POST', 'DELETE'],
    allowedHeaders: ['authorization', 'content-type'],
  });
  return app;
}

/** SIGTERM and SIGINT drain; a later one ends the process at once. Returns what they do. */
function drainOnSignals(
  app: NestExpressApplication,
  { options }: WsGatewayReload,
  pino: Logger,
  closeLogs: () => Promise<void>,
): () => Promise<void> {
  const stop = async (): Promise<void> => {
    await app.close();
    await closeLogs();
  };
  const exitAfter = (ending: Promise<void>): void =>
    void ending.then(
      () => process.exit(0),
      (error: unknown) => {
        pino.fatal({ err: error }, 'The shutdown failed');
        process.exit(1);
      },
    );
  onStopSignals(app.get(WsClock), {
    begin(signal) {
      const { drainMs } = options.shutdown;
      pino.info({ signal, drainMs }, 'Draining; another signal ends the process at once');
      // The drain ends in time by itself; this timer ends an HTTP request that never does.
      setTimeout(() => exitAfter(closeLogs()), drainMs).unref();
      exitAfter(stop());
    },
    hurry(signal) {
      pino.warn({ signal }, 'Ended before the drain was over');
      process.exit(1);
    },
  });
  return stop;
}

function announce(
  { gateway, tls, ephemeralSecret, console, fronts }: ServiceConfiguration,
  { address, family, port }: AddressInfo,
  pino: Logger,
): void {
  const secure = tls === undefined ? '' : 's';
  const host = hostOf(address, family, port);
  // Of a path with parameters, what comes before them.
  const url = `ws${secure}://${host}${(gateway.path ?? DEFAULTS.path).split(/[:*{]/, 1)[0]}`;
  pino.info(
    { http: `http${secure}://${host}`, websocket: url, ...(fronts.length > 0 && { upstreams: fronts }) },
    `Listening on http${secure}://${host}, WebSocket at ${url}`,
  );
  if (tls === undefined && isPublic(address) && !isBehindProxy(gateway.firewall?.trustProxy)) {
    const warning = exposureWarning(host);
    pino.warn({ host }, warning.replaceAll('\n', ' '));
    process.stderr.write(`\nWARNING: ${warning}\n\n`); // whatever the log level is
  }
  const page = `http${secure}://${hostOf(reachable(address), family, port)}/`;
  if (ephemeralSecret === undefined) {
    if (console) pino.info({ console: page }, `Console at ${page}, for a token with the scope ws-gateway:admin`);
    return;
  }
  const sign = (claims: Omit<MintedClaims, 'seconds'>): string =>
    signDemo({ ...claims, seconds: DEMO_TOKEN_SECONDS }, ephemeralSecret, gateway);
  const token = sign({ sub: 'demo', roles: ['demo'], scope: '' });
  const main = relative(process.cwd(), process.argv[1] ?? 'dist/main.js');
  process.stdout.write(`
No JWT_SECRET, JWT_PUBLIC_KEY or JWKS_URI is set, so the service made a secret up, which it forgets when it ends.
A demo token, valid for an hour:

  ${token}

Try it from another terminal:

  node ${main} try --url ${url.replace(host, hostOf(reachable(address), family, port))}${tls === undefined ? '' : ' --insecure'} --token ${token}${fronts.length > 0 ? ' --raw hello' : ''}
${console ? `\nOr look at the console: ${page}#token=${sign({ sub: 'admin', roles: [], scope: 'ws-gateway:admin' })}\n` : ''}
`);
}

function hostOf(address: string, family: string, port: number): string {
  return `${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}

/** An address of this machine to connect to: not every system connects to the one that stands for all. */
function reachable(address: string): string {
  if (address === '0.0.0.0') return '127.0.0.1';
  return address === '::' ? '::1' : address;
}
