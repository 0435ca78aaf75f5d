import { Logger } from '@nestjs/common';
import { FailureSink } from './log.js';
import type { FailureRecord } from './log.js';

const METHOD_OF = { debug: 'debug', info: 'log', warn: 'warn', error: 'error' } as const;

/** Writes through Nest's Logger: `CODE message key=value …` on one line; an unforeseen error brings its stack. */
export class NestSink extends FailureSink {
  readonly #logger = new Logger('WsGateway');

  write({ level, code, message, stack, ...fields }: FailureRecord): void {
    if (!Logger.isLevelEnabled(METHOD_OF[level])) return; // a clean close is debug, and there are many of those
    const pairs = Object.entries(fields).map(([key, value]) => `${key}=${quoted(value)}`);
    const line = [code, message, ...pairs].join(' ');
    if (stack === undefined) this.#logger[METHOD_OF[level]](line);
    else this.#logger.error(line, stack);
  }
}

/** Quoted where a subject or an address could break the line. */
function quoted(value: unknown): string {
  const text = String(value);
  return /^[\w.:@/-]+$/.test(text) ? text : JSON.stringify(text);
}
