import type { LoggerService } from '@nestjs/common';
import { pino } from 'pino';
import type { Logger } from 'pino';
import type { WsClock } from '../../base/clock.js';
import { FailureSink } from '../../monitoring/log/failure-log.js';
import type { FailureRecord, NoticeRecord } from '../../monitoring/log/failure-log.js';
import { visible, visibleJson, visibleStack } from '../../base/visible.js';
import type { ServiceConfiguration } from '../configuration/configuration.js';
import { FailureFile } from './failure-file.js';
import { LogOutput } from './log-output.js';

/** Nest's own start-up lines help debugging only. */
const CHATTY = new Set([
  'InstanceLoader',
  'NestFactory',
  'NestApplication',
  'RouterExplorer',
  'RoutesResolver',
  'WebSocketsController',
]);

/** pino, and stdout as it writes to it. */
export interface ServiceLog {
  readonly pino: Logger;
  readonly output: LogOutput;
}

export async function createLog(
  { logLevel, logFormat }: Pick<ServiceConfiguration, 'logLevel' | 'logFormat'>,
  clock: Pick<WsClock, 'now'>,
): Promise<ServiceLog> {
  const output = new LogOutput(logFormat === 'json' ? visibleJson : await prettyLines(), clock);
  return { pino: pino({ level: logLevel, base: null }, output), output };
}

/** One line for people; a stack follows it on lines of its own. */
async function prettyLines(): Promise<(json: string) => string> {
  const { prettyFactory } = await import('pino-pretty');
  const prettify = prettyFactory({ translateTime: 'SYS:HH:MM:ss.l', ignore: 'pid,hostname', singleLine: true });
  return (json) => prettify(visibleMembers(JSON.parse(json), '')).trimEnd();
}

/** A value of a line with every text in it visible, names included. */
function visibleMembers(value: unknown, name: string): unknown {
  if (typeof value === 'string') return name === 'stack' ? visibleStack(value) : visible(value);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => visibleMembers(item, ''));
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [visible(key), visibleMembers(member, key)]));
}

/** Nest's logger on pino. */
export class PinoLogger implements LoggerService {
  constructor(private readonly output: Logger) {}

  log(message: unknown, ...rest: unknown[]): void {
    const context = contextOf(rest);
    this.#write(context !== undefined && CHATTY.has(context) ? 'debug' : 'info', message, context);
  }

  fatal(message: unknown, ...rest: unknown[]): void {
    this.#write('fatal', message, contextOf(rest), rest);
  }

  error(message: unknown, ...rest: unknown[]): void {
    this.#write('error', message, contextOf(rest), rest);
  }

  warn(message: unknown, ...rest: unknown[]): void {
    this.#write('warn', message, contextOf(rest));
  }

  debug(message: unknown, ...rest: unknown[]): void {
    this.#write('debug', message, contextOf(rest));
  }

  verbose(message: unknown, ...rest: unknown[]): void {
    this.#write('trace', message, contextOf(rest));
  }

  #write(
    level: 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace',
    message: unknown,
    context?: string,
    rest: unknown[] = [],
  ): void {
    const stack = rest.length > 1 && typeof rest[0] === 'string' ? rest[0] : undefined; // error(message, stack, context)
    const fields = { ...(context !== undefined && { context }), ...(stack !== undefined && { stack }) };
    if (message instanceof Error) this.output[level]({ ...fields, err: message }, message.message);
    else if (typeof message === 'object' && message !== null) this.output[level]({ ...fields, ...message });
    else this.output[level](fields, String(message));
  }
}

/** Nest passes the context last. */
function contextOf(rest: readonly unknown[]): string | undefined {
  const last = rest.at(-1);
  return typeof last === 'string' ? last : undefined;
}

/** Failures as structured lines, and where a file is named, every one of them there as well, whatever the log level. */
export class PinoSink extends FailureSink {
  readonly #file: FailureFile | undefined;

  constructor(
    private readonly log: ServiceLog,
    errorLogFile: string | undefined,
    clock: Pick<WsClock, 'every' | 'now'>,
  ) {
    super();
    if (errorLogFile === undefined) return;
    this.#file = new FailureFile(errorLogFile, clock, (message, error) => {
      if (error === undefined) this.log.pino.warn(message);
      else this.log.pino.error({ err: error }, message);
    });
  }

  override get problem(): string | undefined {
    return this.#file?.problem ?? this.log.output.problem;
  }

  write({ level, message, ...fields }: FailureRecord): void {
    this.log.pino[level](fields, message);
    if (this.#file === undefined || level === 'debug') return; // a peer that says goodbye is no failure
    const time = new Date().toISOString();
    this.#file.write(`${visibleJson(JSON.stringify({ time, level, message, ...fields }))}\n`);
  }

  override note({ level, message, ...fields }: NoticeRecord): void {
    this.log.pino[level]({ context: 'WsFirewall', ...fields }, message);
  }

  /** Resolves when everything is on the disk, or the disk has refused it. */
  async close(): Promise<void> {
    await this.#file?.close();
  }
}
