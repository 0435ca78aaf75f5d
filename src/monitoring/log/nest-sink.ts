import { Logger } from '@nestjs/common';
import { FailureSink } from './failure-log.js';
import type { FailureRecord, NoticeRecord } from './failure-log.js';

const METHOD_OF = { debug: 'debug', info: 'log', warn: 'warn', error: 'error' } as const;

/** Writes through Nest's Logger: `CODE message key=value …` on one line; an unforeseen error brings its stack. */
export class NestSink extends FailureSink {
  readonly #logger = new Logger('WsGateway');

  write({ level, code, message, stack, ...fields }: FailureRecord): void {
    if (!Logger.isLevelEnabled(METHOD_OF[level])) return; // a clean close is debug, and there are many of those
    const line = [code, message, ...pairsOf(fields)].join(' ');
    if (stack === undefined) this.#logger[METHOD_OF[level]](line);
    else this.#logger.error(line, stack);
  }
}

const FIREWALL = new Logger('WsFirewall');

/** A line that is no failure: `message key=value …`. */
export function noteThroughNest({ level, message, ...fields }: NoticeRecord): void {
  FIREWALL[METHOD_OF[level]]([message, ...pairsOf(fields)].join(' '));
}

function pairsOf(fields: object): string[] {
  return Object.entries(fields).map(([key, value]) => `${key}=${quoted(value)}`);
}

/** Quoted where a subject or an address could break the line. */
function quoted(value: unknown): string {
  const text = String(value);
  return /^[\w.:@/-]+$/.test(text) ? text : JSON.stringify(text);
}
