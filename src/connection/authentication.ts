import { hash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Injectable } from '@nestjs/common';
import { JwtService } from '@nestjs/jwt';
import { GatewayError } from '../protocol/errors.js';
import { BEARER_SUBPROTOCOL, isJsonObject } from '../protocol/message.js';
import type { ResolvedOptions, TokenSource } from '../ws-gateway.options.js';
import type { WsClock } from './clock.js';
import type { Principal } from './session.js';

/** Longest token looked at, in bytes. */
const MAX_TOKEN_BYTES = 8_192;

/** Verified tokens remembered, by digest, and the longest of them in bytes: both bound what they cost. */
const MAX_REMEMBERED = 5_000;
const MAX_REMEMBERED_BYTES = 2_048;

/** From a credential to a principal. */
@Injectable()
export class Authentication {
  // Who comes back with the same token, as all do after a restart of a proxy, is not verified again while it lasts.
  readonly #verified = new Map<string, Principal>();

  constructor(
    private readonly options: ResolvedOptions['auth'],
    private readonly clock: WsClock,
    private readonly jwt: JwtService,
  ) {}

  /**
   * The token of a handshake. The first source that is present decides; a bad one never falls through to the next.
   *
   * @returns undefined when no source has one
   */
  tokenOf(request: IncomingMessage): string | undefined {
    for (const source of this.options.sources) {
      const token = READERS[source]?.(request);
      if (token !== undefined) return token;
    }
    return undefined;
  }

  /**
   * Verifies a token (RFC 7519 §7.2, RFC 8725): signature under the one configured key, an algorithm of the list, `exp`
   * and `sub` present, issuer and audience where configured.
   *
   * @throws GatewayError TOKEN_INVALID, TOKEN_EXPIRED
   */
  authenticate(token: string): Principal {
    if (token.length > MAX_TOKEN_BYTES) throw invalid('longer than 8 KiB');
    const digest = hash('sha256', token, 'base64'); // a token is a secret of full entropy, so a plain digest will do
    const known = this.#verified.get(digest);
    if (known !== undefined && known.expiresAt > this.clock.now()) return known;
    const principal = withoutStacks(() => this.#verify(token));
    if (token.length <= MAX_REMEMBERED_BYTES) this.#remember(digest, principal);
    return principal;
  }

  #remember(digest: string, principal: Principal): void {
    this.#verified.delete(digest); // so that it is the youngest again
    this.#verified.set(digest, principal);
    if (this.#verified.size <= MAX_REMEMBERED) return;
    for (const oldest of this.#verified.keys()) return void this.#verified.delete(oldest);
  }

  #verify(token: string): Principal {
    const { key, algorithms, issuer, audience, clockToleranceSec } = this.options.jwt;
    let verified: { header?: unknown; payload?: unknown };
    try {
      verified = this.jwt.verify(token, {
        secret: key as unknown as string, // because the option is a string in its types, and a KeyObject costs a thirtieth
        algorithms: [...algorithms],
        clockTolerance: clockToleranceSec,
        clockTimestamp: Math.floor(this.clock.now() / 1000),
        complete: true,
        ...(issuer !== undefined && { issuer: issuer as [string, ...string[]] }), // because the options refuse an empty list
        ...(audience !== undefined && { audience: audience as [string, ...string[]] }),
      });
    } catch (error) {
      const reason = error as Error;
      if (reason.name === 'TokenExpiredError') throw new GatewayError('TOKEN_EXPIRED');
      // What a parser says quotes the token; what jsonwebtoken says names no claim's value.
      throw invalid(OWN_WORDS.has(reason.name) ? reason.message : 'malformed');
    }
    return principalOf(verified.header, verified.payload, this.clock.now() + clockToleranceSec * 1000);
  }
}

/** A refused token is no mistake in this code: whoever sends many must not make it take a stack for each. */
function withoutStacks<T>(run: () => T): T {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return run();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

const OWN_WORDS: ReadonlySet<string> = new Set(['JsonWebTokenError', 'NotBeforeError']);

/** `reason` is for the log and names no claim's value. */
function invalid(reason: string): GatewayError {
  return new GatewayError('TOKEN_INVALID', { cause: reason });
}

/** What jsonwebtoken leaves open. */
function principalOf(header: unknown, payload: unknown, latestIssue: number): Principal {
  if (isJsonObject(header) && 'crit' in header) throw invalid('critical header parameters are not understood'); // RFC 7515 §4.1.11
  if (!isJsonObject(payload)) throw invalid('payload is no object');
  const { sub, exp, iat } = payload;
  if (typeof sub !== 'string' || sub === '') throw invalid('sub is missing');
  if (typeof exp !== 'number' || !Number.isFinite(exp * 1000)) throw invalid('exp is missing');
  if (iat !== undefined && (typeof iat !== 'number' || iat * 1000 > latestIssue)) throw invalid('iat is in the future');
  return Object.freeze({
    subject: sub,
    roles: Object.freeze(namesIn(payload.roles)),
    scopes: Object.freeze(namesIn(payload.scope ?? payload.scopes ?? payload.scp)),
    claims: Object.freeze(payload),
    expiresAt: Math.floor(exp * 1000),
  });
}

/** An array of strings, or one string with spaces between them (RFC 8693 §4.2). */
function namesIn(claim: unknown): string[] {
  if (typeof claim === 'string') return claim.split(' ').filter((name) => name !== '');
  return Array.isArray(claim) ? claim.filter((name) => typeof name === 'string') : [];
}

const READERS: Partial<Record<TokenSource, (request: IncomingMessage) => string | undefined>> = {
  header: ({ headers }) => bearerOf(headers.authorization),
  subprotocol: ({ headers }) => {
    const offered = headers['sec-websocket-protocol']?.split(',').map((name) => name.trim());
    return offered?.find((name) => name.startsWith(BEARER_SUBPROTOCOL))?.slice(BEARER_SUBPROTOCOL.length);
  },
};

/**
 * The token of an Authorization header (RFC 6750 §2.1). Another scheme counts as absent, an empty token as present.
 */
export function bearerOf(authorization: string | undefined): string | undefined {
  const [scheme, ...rest] = authorization?.trim().split(' ') ?? [];
  return scheme?.toLowerCase() === 'bearer' ? rest.join(' ').trim() : undefined;
}
