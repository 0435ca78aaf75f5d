import type { FailureEvent } from '../session/events.js';

/** What the console's page and its gateway say to each other, beside the protocol itself. */

/** Points that are kept, and shown: 15 minutes, one a second. */
export const POINTS = 900;

/** Series of plain numbers, one value a second. */
export const SERIES = [
  'open',
  'opening',
  'anonymous',
  'messagesIn',
  'messagesOut',
  'bytesIn',
  'bytesOut',
  'inFlight',
  'p50',
  'p95',
  'p99',
  'loop',
  'loopDelay',
  'heap',
] as const;
export type SeriesName = (typeof SERIES)[number];

/** What is counted by code. */
export const CODE_KINDS = ['refusals', 'exceptions', 'closes'] as const;
export type CodeKind = (typeof CODE_KINDS)[number];

/** The first value of `ws-gateway.live`: what there is of the last 15 minutes, oldest first. */
export interface LiveHistory {
  readonly kind: 'history';
  /** Epoch milliseconds of the last point; the one before is a second older. */
  readonly at: number;
  readonly series: Readonly<Record<SeriesName, readonly (number | null)[]>>;
  readonly codes: Readonly<Record<CodeKind, Readonly<Record<string, readonly number[]>>>>;
}

/** What happened in a second. */
export interface LiveTick {
  readonly kind: 'tick';
  readonly at: number;
  readonly values: Readonly<Record<SeriesName, number | null>>;
  /** Those above 0. */
  readonly codes: Readonly<Record<CodeKind, Readonly<Record<string, number>>>>;
}

export type Live = LiveHistory | LiveTick;

/** A failure as the log would show it. */
export interface FailureRow extends Omit<FailureEvent, 'stack'> {
  readonly at: number;
}

/** Values of `ws-gateway.failures`: the newest, oldest first, then batches. */
export interface Failures {
  readonly rows: readonly FailureRow[];
  /** How many were left out before these. */
  readonly dropped: number;
}

export interface SessionRow {
  readonly id: string;
  readonly subject: string | null;
  readonly clientAddress: string;
  readonly path: string;
  readonly connectedAt: number;
  readonly expiresAt: number | null;
  readonly inFlight: number;
  readonly queuedBytes: number;
}

export interface SessionsReply {
  readonly items: readonly SessionRow[];
  readonly next?: string;
  readonly total: number;
}

export interface BanRow {
  readonly id: string;
  readonly kind: 'address' | 'subject';
  readonly target: string;
  /** Epoch milliseconds; null until it is lifted. */
  readonly until: number | null;
  readonly reason: string | null;
  readonly isDry: boolean;
}

export interface FirewallReply {
  readonly bans: readonly BanRow[];
  readonly banCount: number;
  readonly lists: {
    readonly allow: readonly string[];
    readonly deny: readonly string[];
    readonly exempt: readonly string[];
  };
  readonly budgets: readonly { readonly budget: string; readonly enforced: number; readonly dry: number }[];
  readonly dryRuns: readonly { readonly rule: string; readonly count: number }[];
  /** Those that failed most since the start, the first first. */
  readonly addresses: readonly { readonly address: string; readonly failures: number }[];
}

export interface EventRow {
  readonly event: string;
  readonly path: string;
  readonly isPublic: boolean;
  /** One of each list is needed. */
  readonly roles: readonly (readonly string[])[];
  readonly scopes: readonly string[];
  readonly hasRules: boolean;
  readonly limit: { readonly limit: number; readonly perMs: number } | null;
  /** A payload that its class lets through, where it has one. */
  readonly example: object | null;
  readonly received: number;
  readonly failed: number;
  readonly lastCode: string | null;
  readonly p50: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
  /** Messages of the last minutes, oldest first, each of 15 seconds. */
  readonly spark: readonly number[];
}

/** A node of the cluster. */
export interface NodeRow {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  readonly startedAt: number;
  readonly seenAt: number;
  readonly sessions: number;
  readonly rooms: number;
  /** True for the node that this console looks at. */
  readonly isHere: boolean;
}

export interface RoomsReply {
  readonly nodes: readonly NodeRow[];
  /** `single` where nothing is shared. */
  readonly state: string;
  readonly rooms: number;
  readonly memberships: number;
  readonly historyMessages: number;
  readonly historyBytes: number;
  readonly rules: readonly { readonly rule: string; readonly published: number; readonly delivered: number }[];
}

export interface About {
  readonly title: string;
  readonly node: string;
  readonly startedAt: number;
  readonly now: number;
  readonly ready: boolean;
  readonly reasons: readonly string[];
  readonly warnings: readonly string[];
  readonly who: string;
  readonly canMint: boolean;
  /** Paths of the gateways that speak the protocol. */
  readonly paths: readonly string[];
  readonly limits: {
    readonly maxMessageBytes: number;
    readonly messagesPerSecond: number | null;
    readonly messageBurst: number | null;
  };
}

/** `config.json` beside the page; nothing in it is secret. */
export interface PageConfig {
  readonly title: string;
  /** Path of the page, and of the console's gateway, as the server sees them. */
  readonly page: string;
  readonly socket: string;
  /** How a token may come: `message`, `subprotocol`, or a cookie. */
  readonly via: 'message' | 'subprotocol' | 'cookie';
}
