import { getHeapStatistics } from 'node:v8';
import type { ResolvedAuth } from '../authentication/options.js';
import { count, group, Optional, path, text, whole } from '../base/options.js';
import type { GivenOf, Resolved, ResolvedOf } from '../base/options.js';
import type { ResolvedFirewall } from '../firewall/options.js';

/** Token of all options, as {@link ConnectionContext} has them. */
export const CONNECTION_OPTIONS = Symbol('nestjs-ws-gateway.connection-options');
/** Token of `options.overload`. */
export const OVERLOAD_OPTIONS = Symbol('nestjs-ws-gateway.overload-options');
/** Token of the {@link ConnectionContext}. */
export const CONTEXT = Symbol('nestjs-ws-gateway.context');

/** The default of `limits.maxHandlingBytesTotal`, in bytes. */
const HEAP_SHARE: number = Math.floor(getHeapStatistics().heap_size_limit / 8);
/** Least and most of what all peers together may hold, in bytes. */
const TOTAL = [1_048_576, 68_719_476_736] as const;

const LIMITS = group({
  /** Largest message accepted, in bytes; a larger one closes with 1009. */
  maxMessageBytes: whole(1, 16_777_216, 65_536),
  /** Most fragments a message may come in; more close with 1009. */
  maxFragments: whole(1, 131_072, 1_024),
  /** Deepest nesting of a message, its envelope included. */
  maxJsonDepth: whole(2, 1_000, 32),
  /** Bad frames a session may send before it is closed with 4400; refills at as many a minute. */
  maxBadFrames: whole(1, 1_000_000, 10),
  /** Messages of one session handled at once; at the limit the socket is not read. */
  maxConcurrentMessages: whole(1, 10_000, 16),
  /** Streamed replies a session may have open at once; one more is RATE_LIMITED. */
  maxStreams: whole(1, 100_000, 64),
  /** How long a handler may take to answer, in milliseconds. */
  handlerTimeoutMs: whole(1, 3_600_000, 30_000),
  /**
   * Most bytes queued for a peer that does not read, and one message more, which it has ten seconds and one for each 65_536 bytes
   * to read; then, or with another, it is closed with 4113.
   */
  maxOutboundBytes: whole(1, 268_435_456, 1_048_576),
  /** Most bytes queued for all peers together; over it those with most to read are closed with 4113. */
  maxOutboundBytesTotal: whole(...TOTAL, 268_435_456),
  /** Most bytes of messages that are begun and not complete, of all peers together; over it those with most are closed with 1013. */
  maxReceivingBytesTotal: whole(...TOTAL, 268_435_456),
  /**
   * Most bytes that messages of all sessions together hold, as they are on the heap, while they wait for their turn or their
   * handler, or have a stream open. Near it sessions of an address that has most of it are not read, at it their messages are
   * RATE_LIMITED, and those with most are closed with 1013. @default an eighth of V8's heap
   */
  maxHandlingBytesTotal: whole(...TOTAL, HEAP_SHARE),
  /** How long a message, or a frame, may take to arrive, in milliseconds; a longer one closes with 4108. */
  messageTimeoutMs: whole(1, 3_600_000, 30_000),
  /** Messages of a session in a second, in the long run. */
  messagesPerSecond: count(1, 10_000_000, 50),
  /** Messages of a session at once; as many more, while the budget is empty, close with 4129. */
  messageBurst: count(1, 10_000_000, 100),
  /** Messages of all sessions of a subject in a second. */
  messagesPerSecondPerSubject: count(1, 10_000_000, 200),
  /** Bytes of a session's messages in a second. */
  bytesPerSecond: count(1, 68_719_476_736, 1_048_576),
});

const OVERLOAD = group({
  /** Mean delay of the event loop over a second, in milliseconds. */
  maxEventLoopDelayMs: count(10, 60_000, 500),
  /** Heap in use, in percent of what V8 may have. */
  maxHeapPercent: count(1, 100, 90),
});

const HEARTBEAT = group({
  /** Time between pings, in milliseconds. */
  intervalMs: whole(1, 3_600_000, 25_000),
  /** How long a pong may take, in milliseconds; a peer without one is closed with 4108. */
  timeoutMs: whole(1, 600_000, 10_000),
});

const COMPRESSION = group({
  /** Smallest message compressed, in bytes. */
  thresholdBytes: whole(0, 16_777_216, 1_024),
});

/** The options of connections and messages, each group by its name among the module's options. */
export const CONNECTION = {
  /** Where gateways without a path of their own live. */
  path: path('/ws'),
  /** What a session, and all sessions together, may send, hold and ask for. */
  limits: LIMITS,
  /** When the process has more to do than it can: then upgrades are refused. */
  overload: OVERLOAD,
  /** Times are kept by a sweep every 250 ms, so shorter ones are as long as that. */
  heartbeat: HEARTBEAT,
  /** permessage-deflate (RFC 7692), without context takeover; `true` for its defaults. @default false */
  compression: new Optional<
    boolean | CompressionOptions,
    ResolvedOf<typeof COMPRESSION> | false,
    { readonly thresholdBytes: number }
  >(
    false,
    COMPRESSION.fallback,
    { anyOf: [{ type: 'boolean' }, COMPRESSION.schema] },
    (given, place) => given !== false && COMPRESSION.read(given === true ? {} : given, place),
  ),
  /** How the application ends. */
  shutdown: group({
    /** How long a drain may take, in milliseconds. */
    drainMs: whole(1, 600_000, 10_000),
  }),
  /** How exceptions are sent. */
  errors: group({
    /** Event name of exception frames. */
    event: text(1, 128, 'exception'),
  }),
};

export interface LimitOptions extends GivenOf<typeof LIMITS> {}
export interface OverloadOptions extends GivenOf<typeof OVERLOAD> {}
export interface HeartbeatOptions extends GivenOf<typeof HEARTBEAT> {}
export interface CompressionOptions extends GivenOf<typeof COMPRESSION> {}

/** The options of connections and messages with every default filled in; what is off is `Infinity`. */
export interface ResolvedConnection extends Resolved<typeof CONNECTION> {}

/** All that an upgrade and a message read on their way: the module's options, or those of one path. */
export interface ConnectionOptions extends ResolvedConnection {
  readonly auth: ResolvedAuth;
  readonly firewall: ResolvedFirewall;
  readonly monitoring: { readonly metrics: boolean; readonly traces: boolean };
}
