import type { Position } from '../engine/engine.js';
import { GatewayError } from '../protocol/errors.js';
import { isEventName, isJsonObject } from '../protocol/message.js';
import { isCursor, MAX_PAGE, PAGE } from './members.js';
import { isChannelName, isKey } from './names.js';

/** What clients send about channels, checked. Each function throws GatewayError VALIDATION_FAILED, which quotes nothing. */

/** One channel of a `subscribe`. */
export interface Wanted {
  readonly channel: string;
  readonly since: Position | undefined;
}

export interface Publication {
  readonly channel: string;
  readonly event: string;
  readonly data: unknown;
  readonly key: string | undefined;
  readonly echo: boolean;
}

export interface PresenceQuery {
  readonly channel: string;
  readonly limit: number;
  readonly cursor: string | undefined;
}

const MAX_BATCH = 100;
const MAX_EPOCH_LENGTH = 64;

/** Events of the contract: no publication may look like one. The event of exceptions comes to them. */
const RESERVED: ReadonlySet<string> = new Set([
  'auth',
  'session',
  'ping',
  'pong',
  'auth.expiring',
  'disconnect',
  'cancel',
  'subscribe',
  'unsubscribe',
  'publish',
  'presence',
  'presence.changed',
  'unsubscribed',
  'gap',
]);

export function invalid(path: string, rule: string, message: string): GatewayError {
  return new GatewayError('VALIDATION_FAILED', { details: [{ path, rule, message }] });
}

function objectOf(data: unknown, path = ''): Record<string, unknown> {
  if (!isJsonObject(data)) throw invalid(path, 'isObject', `${path === '' ? 'data' : path} must be an object`);
  return data;
}

export function channelOf(data: unknown): string {
  const { channel } = objectOf(data);
  if (!isChannelName(channel)) {
    throw invalid(
      'channel',
      'channel',
      'channel must be 1 to 128 of A-Za-z0-9_.:=@%~-, with no empty part between dots',
    );
  }
  return channel;
}

function sinceOf(since: unknown): Position | undefined {
  if (since === undefined) return undefined;
  const { epoch, offset, ...unknown } = objectOf(since, 'since');
  if (Object.keys(unknown).length > 0) throw invalid('since', 'unknownProperty', 'since has epoch and offset alone');
  if (typeof epoch !== 'string' || epoch.length < 1 || epoch.length > MAX_EPOCH_LENGTH) {
    throw invalid('since.epoch', 'epoch', `epoch must be a string of 1 to ${MAX_EPOCH_LENGTH} characters`);
  }
  if (!Number.isSafeInteger(offset) || (offset as number) < 0) {
    throw invalid('since.offset', 'offset', 'offset must be a whole number of at least 0');
  }
  return { epoch, offset: offset as number }; // because it is a safe integer
}

export function wantedOf(data: unknown): Wanted {
  return { channel: channelOf(data), since: sinceOf(objectOf(data).since) };
}

/** The items of a batch, each to be read on its own; undefined for a request of one channel. */
export function batchOf(data: unknown): readonly Record<string, unknown>[] | undefined {
  const { channels } = objectOf(data);
  if (channels === undefined) return undefined;
  if (!Array.isArray(channels) || channels.length < 1 || channels.length > MAX_BATCH) {
    throw invalid('channels', 'channels', `channels must be a list of 1 to ${MAX_BATCH}`);
  }
  return channels.map((item: unknown, index) => objectOf(item, `channels.${index}`));
}

/** @param exceptionEvent `errors.event` */
export function eventOf(event: unknown, exceptionEvent: string): string {
  if (event === undefined) return 'publication';
  if (!isEventName(event)) throw invalid('event', 'event', 'event must be a string of 1 to 128 characters');
  if (RESERVED.has(event) || event === exceptionEvent)
    throw invalid('event', 'reserved', 'event is one of the contract');
  return event;
}

export function keyOf(key: unknown): string | undefined {
  if (key === undefined || isKey(key)) return key;
  throw invalid('key', 'key', 'key must be a string of 1 to 64 characters');
}

export function publicationOf(data: unknown, exceptionEvent: string): Publication {
  const channel = channelOf(data);
  const { event, data: body, key, echo = true } = objectOf(data);
  if (typeof echo !== 'boolean') throw invalid('echo', 'isBoolean', 'echo must be true or false');
  return { channel, event: eventOf(event, exceptionEvent), data: body, key: keyOf(key), echo };
}

export function presenceOf(data: unknown): PresenceQuery {
  const channel = channelOf(data);
  const { limit = PAGE, cursor } = objectOf(data);
  if (!Number.isInteger(limit) || (limit as number) < 1 || (limit as number) > MAX_PAGE) {
    throw invalid('limit', 'limit', `limit must be a whole number from 1 to ${MAX_PAGE}`);
  }
  return { channel, limit: limit as number, cursor: cursorOf(cursor) }; // because it is an integer
}

export function cursorOf(cursor: unknown): string | undefined {
  if (cursor === undefined || isCursor(cursor)) return cursor;
  throw invalid('cursor', 'cursor', 'cursor must be the next of a page');
}
