import { getHeapStatistics } from 'node:v8';
import type { ResolvedAuth } from '../authentication/options.js';
import type { OptionCheck } from '../base/options.js';
import type { ResolvedFirewall } from '../firewall/options.js';

/** Token of all options, as {@link ConnectionContext} has them. */
export const CONNECTION_OPTIONS = Symbol('nestjs-ws-gateway.connection-options');
/** Token of `options.limits`. */
export const LIMIT_OPTIONS = Symbol('nestjs-ws-gateway.limit-options');
/** Token of `options.overload`. */
export const OVERLOAD_OPTIONS = Symbol('nestjs-ws-gateway.overload-options');
/** Token of the {@link ConnectionContext}. */
export const CONTEXT = Symbol('nestjs-ws-gateway.context');

export interface LimitOptions {
  /** Largest message accepted, in bytes, 1 to 16_777_216; a larger one closes with 1009. @default 65_536 */
  maxMessageBytes?: number;
  /** Most fragments a message may come in, 1 to 131_072; more close with 1009. @default 1_024 */
  maxFragments?: number;
  /** Deepest nesting of a message, its envelope included, 2 to 1_000. @default 32 */
  maxJsonDepth?: number;
  /** Bad frames a session may send before it is closed with 4400, 1 to 1_000_000; refills at as many a minute. @default 10 */
  maxBadFrames?: number;
  /** Messages of one session handled at once, 1 to 10_000; at the limit the socket is not read. @default 16 */
  maxConcurrentMessages?: number;
  /** Streamed replies a session may have open at once, 1 to 100_000; one more is RATE_LIMITED. @default 64 */
  maxStreams?: number;
  /** How long a handler may take to answer, in milliseconds, 1 to 3_600_000. @default 30_000 */
  handlerTimeoutMs?: number;
  /** Most bytes queued for a peer that does not read, 1 to 268_435_456; and one message more, which it has ten seconds and one for each 65_536 bytes to read; then, or with another, it is closed with 4113. @default 1_048_576 */
  maxOutboundBytes?: number;
  /** Most bytes queued for all peers together, 1_048_576 to 68_719_476_736; over it those with most to read are closed with 4113. @default 268_435_456 */
  maxOutboundBytesTotal?: number;
  /** Most bytes of messages that are begun and not complete, of all peers together, in the same range; over it those with most are closed with 1013. @default 268_435_456 */
  maxReceivingBytesTotal?: number;
  /**
   * Most bytes that messages of all sessions together hold, as they are on the heap, while they wait for their turn or their
   * handler, or have a stream open; in the same range. Near it sessions of an address that has most of it are not read, at
   * it their messages are RATE_LIMITED, and those with most are closed with 1013. @default an eighth of V8's heap
   */
  maxHandlingBytesTotal?: number;
  /** How long a message, or a frame, may take to arrive, in milliseconds, 1 to 3_600_000; a longer one closes with 4108. @default 30_000 */
  messageTimeoutMs?: number;
  /** Messages of a session in a second, in the long run; `Infinity`, or `null`, is off. @default 50 */
  messagesPerSecond?: number | null;
  /** Messages of a session at once; as many more, while the budget is empty, close with 4129. @default 100 */
  messageBurst?: number | null;
  /** Messages of all sessions of a subject in a second; `Infinity`, or `null`, is off. @default 200 */
  messagesPerSecondPerSubject?: number | null;
  /** Bytes of a session's messages in a second; `Infinity`, or `null`, is off. @default 1_048_576 */
  bytesPerSecond?: number | null;
}

/** When the process has more to do than it can. */
export interface OverloadOptions {
  /** Mean delay of the event loop over a second, in milliseconds, 10 to 60_000; `Infinity`, or `null`, is off. @default 500 */
  maxEventLoopDelayMs?: number | null;
  /** Heap in use, in percent of what V8 may have, 1 to 100; `Infinity`, or `null`, is off. @default 90 */
  maxHeapPercent?: number | null;
}

/** Times are kept by a sweep every 250 ms, so shorter ones are as long as that. */
export interface HeartbeatOptions {
  /** Time between pings, in milliseconds, 1 to 3_600_000. @default 25_000 */
  intervalMs?: number;
  /** How long a pong may take, in milliseconds, 1 to 600_000; a peer without one is closed with 4108. @default 10_000 */
  timeoutMs?: number;
}

export interface CompressionOptions {
  /** Smallest message compressed, in bytes, 0 to 16_777_216. @default 1_024 */
  thresholdBytes?: number;
}

/** The options of connections and messages. */
export interface ConnectionOptions {
  /** Where gateways without a path of their own live. @default '/ws' */
  path?: string;
  limits?: LimitOptions;
  overload?: OverloadOptions;
  heartbeat?: HeartbeatOptions;
  /** permessage-deflate (RFC 7692), without context takeover; `true` for its defaults. @default false */
  compression?: boolean | CompressionOptions;
  shutdown?: {
    /** How long a drain may take, in milliseconds, 1 to 600_000. @default 10_000 */
    drainMs?: number;
  };
  errors?: {
    /** Event name of exception frames, 1 to 128 characters. @default 'exception' */
    event?: string;
  };
}

export const CONNECTION_DEFAULTS = Object.freeze({
  path: '/ws',
  limits: Object.freeze({
    maxMessageBytes: 65_536,
    maxFragments: 1_024,
    maxJsonDepth: 32,
    maxBadFrames: 10,
    maxConcurrentMessages: 16,
    maxStreams: 64,
    handlerTimeoutMs: 30_000,
    maxOutboundBytes: 1_048_576,
    maxOutboundBytesTotal: 268_435_456,
    maxReceivingBytesTotal: 268_435_456,
    maxHandlingBytesTotal: Math.floor(getHeapStatistics().heap_size_limit / 8),
    messageTimeoutMs: 30_000,
    messagesPerSecond: 50,
    messageBurst: 100,
    messagesPerSecondPerSubject: 200,
    bytesPerSecond: 1_048_576,
  }),
  overload: Object.freeze({ maxEventLoopDelayMs: 500, maxHeapPercent: 90 }),
  heartbeat: Object.freeze({ intervalMs: 25_000, timeoutMs: 10_000 }),
  compression: Object.freeze({ thresholdBytes: 1_024 }),
  shutdown: Object.freeze({ drainMs: 10_000 }),
  errors: Object.freeze({ event: 'exception' }),
} as const);

/** The options of connections and messages with every default filled in. */
export interface ResolvedConnection {
  readonly path: string;
  readonly limits: Readonly<Record<keyof typeof CONNECTION_DEFAULTS.limits, number>>;
  readonly overload: Readonly<Record<keyof OverloadOptions, number>>;
  readonly heartbeat: Readonly<Required<HeartbeatOptions>>;
  readonly compression: Readonly<Required<CompressionOptions>> | false;
  readonly shutdown: { readonly drainMs: number };
  readonly errors: { readonly event: string };
}

/** All that the path of an upgrade and of a message reads. */
export interface PathOptions extends ResolvedConnection {
  readonly auth: ResolvedAuth;
  readonly firewall: ResolvedFirewall;
  readonly monitoring: { readonly metrics: boolean; readonly traces: boolean };
}

/** @param root the options as a whole */
export function resolveConnection(check: OptionCheck, root: Record<string, unknown>): ResolvedConnection {
  const limits = check.object(root.limits, 'limits', Object.keys(CONNECTION_DEFAULTS.limits));
  const overload = check.object(root.overload, 'overload', Object.keys(CONNECTION_DEFAULTS.overload));
  const heartbeat = check.object(root.heartbeat, 'heartbeat', Object.keys(CONNECTION_DEFAULTS.heartbeat));
  const shutdown = check.object(root.shutdown, 'shutdown', Object.keys(CONNECTION_DEFAULTS.shutdown));
  const errors = check.object(root.errors, 'errors', Object.keys(CONNECTION_DEFAULTS.errors));
  const limit = (name: keyof typeof CONNECTION_DEFAULTS.limits, min: number, max: number): number =>
    check.integer(limits[name], `limits.${name}`, min, max, CONNECTION_DEFAULTS.limits[name]);
  const budget = (name: keyof typeof CONNECTION_DEFAULTS.limits, max: number): number =>
    check.count(limits[name], `limits.${name}`, 1, max, CONNECTION_DEFAULTS.limits[name]);

  return {
    path: check.path(root.path, 'path', CONNECTION_DEFAULTS.path),
    limits: {
      maxMessageBytes: limit('maxMessageBytes', 1, 16_777_216),
      maxFragments: limit('maxFragments', 1, 131_072),
      maxJsonDepth: limit('maxJsonDepth', 2, 1_000),
      maxBadFrames: limit('maxBadFrames', 1, 1_000_000),
      maxConcurrentMessages: limit('maxConcurrentMessages', 1, 10_000),
      maxStreams: limit('maxStreams', 1, 100_000),
      handlerTimeoutMs: limit('handlerTimeoutMs', 1, 3_600_000),
      maxOutboundBytes: limit('maxOutboundBytes', 1, 268_435_456),
      maxOutboundBytesTotal: limit('maxOutboundBytesTotal', 1_048_576, 68_719_476_736),
      maxReceivingBytesTotal: limit('maxReceivingBytesTotal', 1_048_576, 68_719_476_736),
      maxHandlingBytesTotal: limit('maxHandlingBytesTotal', 1_048_576, 68_719_476_736),
      messageTimeoutMs: limit('messageTimeoutMs', 1, 3_600_000),
      messagesPerSecond: budget('messagesPerSecond', 10_000_000),
      messageBurst: budget('messageBurst', 10_000_000),
      messagesPerSecondPerSubject: budget('messagesPerSecondPerSubject', 10_000_000),
      bytesPerSecond: budget('bytesPerSecond', 68_719_476_736),
    },
    overload: {
      maxEventLoopDelayMs: check.count(
        overload.maxEventLoopDelayMs,
        'overload.maxEventLoopDelayMs',
        10,
        60_000,
        CONNECTION_DEFAULTS.overload.maxEventLoopDelayMs,
      ),
      maxHeapPercent: check.count(
        overload.maxHeapPercent,
        'overload.maxHeapPercent',
        1,
        100,
        CONNECTION_DEFAULTS.overload.maxHeapPercent,
      ),
    },
    heartbeat: {
      intervalMs: check.integer(
        heartbeat.intervalMs,
        'heartbeat.intervalMs',
        1,
        3_600_000,
        CONNECTION_DEFAULTS.heartbeat.intervalMs,
      ),
      timeoutMs: check.integer(
        heartbeat.timeoutMs,
        'heartbeat.timeoutMs',
        1,
        600_000,
        CONNECTION_DEFAULTS.heartbeat.timeoutMs,
      ),
    },
    compression: resolveCompression(check, root.compression),
    shutdown: {
      drainMs: check.integer(shutdown.drainMs, 'shutdown.drainMs', 1, 600_000, CONNECTION_DEFAULTS.shutdown.drainMs),
    },
    errors: { event: check.text(errors.event, 'errors.event', 1, 128) ?? CONNECTION_DEFAULTS.errors.event },
  };
}

function resolveCompression(check: OptionCheck, value: unknown): Required<CompressionOptions> | false {
  if (value === undefined || typeof value === 'boolean')
    return value === true ? { ...CONNECTION_DEFAULTS.compression } : false;
  const given = check.object(value, 'compression', Object.keys(CONNECTION_DEFAULTS.compression));
  const fallback = CONNECTION_DEFAULTS.compression.thresholdBytes;
  return { thresholdBytes: check.integer(given.thresholdBytes, 'compression.thresholdBytes', 0, 16_777_216, fallback) };
}
