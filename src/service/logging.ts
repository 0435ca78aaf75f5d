import { basename, dirname } from 'node:path';
import type { LoggerService } from '@nestjs/common';
import { pino } from 'pino';
import type { Logger } from 'pino';
import { createStream } from 'rotating-file-stream';
import type { RotatingFileStream } from 'rotating-file-stream';
import { FailureSink } from '../monitoring/log.js';
import type { FailureRecord } from '../monitoring/log.js';
import type { ServiceConfiguration } from './configuration.js';

/** The file of failures is rolled at this size, and this many older ones are kept. */
const FILE_SIZE = '10M';
const FILES_KEPT = 5;
/** Bytes that may wait for a slow disk; records past that are counted and left out. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;

/** What Nest says of itself while it starts is of use to whoever debugs it. */
const CHATTY = new Set([
  'InstanceLoader',
  'NestFactory',
  'NestApplication',
  'RouterExplorer',
  'RoutesResolver',
  'WebSocketsController',
]);

export async function createPino({ logLevel, logFormat }: ServiceConfiguration): Promise<Logger> {
  const options = { level: logLevel, base: null };
  if (logFormat === 'json') return pino(options);
  const { default: pretty } = await import('pino-pretty');
  return pino(
    options,
    pretty({ sync: true, translateTime: 'SYS:HH:MM:ss.l', ignore: 'pid,hostname', singleLine: true }),
  );
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
  readonly #file: RotatingFileStream | undefined;
  #leftOut = 0;

  constructor(
    private readonly output: Logger,
    errorLogFile: string | undefined,
  ) {
    super();
    if (errorLogFile === undefined) return;
    const options = { path: dirname(errorLogFile), size: FILE_SIZE, rotate: FILES_KEPT, mode: 0o600 } as const;
    this.#file = createStream(basename(errorLogFile), options);
    this.#file.on('error', (error) => this.output.error({ err: error }, 'The file of failures cannot be written'));
  }

  write({ level, message, ...fields }: FailureRecord): void {
    this.output[level](fields, message);
    if (this.#file === undefined || level === 'debug') return; // a peer that says goodbye is no failure
    if (this.#file.writableLength > MAX_WAITING_BYTES) return void this.#leftOut++;
    const leftOut = this.#leftOut > 0 && { leftOut: this.#leftOut };
    this.#leftOut = 0;
    this.#file.write(`${JSON.stringify({ time: new Date().toISOString(), level, message, ...fields, ...leftOut })}\n`);
  }

  /** Resolves when everything is on the disk. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#file === undefined) resolve();
      else this.#file.end(() => resolve());
    });
  }
}
