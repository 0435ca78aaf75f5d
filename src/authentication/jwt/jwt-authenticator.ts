import type { KeyObject } from 'node:crypto';
import type { JwtService } from '@nestjs/jwt';
import type { WsClock } from '../../base/clock.js';
import { GatewayError } from '../../protocol/errors.js';
import { isJsonObject } from '../../protocol/message.js';
import { contain } from '../../base/contain.js';
import { isThenable } from '../../base/thenable.js';
import { Authenticator } from '../authenticator.js';
import type { AuthenticationContext } from '../authenticator.js';
import { namesIn } from '../claims.js';
import type { ClaimNames } from '../claims.js';
import { PublishedKeys } from './published-keys.js';
import { fits } from './issuers.js';
import type { Algorithm, AllowedNames, FixedKeys, ResolvedIssuer } from './issuers.js';
import { principalOf } from '../principal.js';
import type { Origin, Principal } from '../principal.js';
import { digestOf, invalid, jsonOf, revocationDigestOf } from '../token.js';

/** Verified tokens remembered, by digest, and the longest of them in bytes: both bound what they cost. */
const MAX_REMEMBERED = 5_000;
const MAX_REMEMBERED_BYTES = 2_048;

/** The end of the year 9999, in epoch seconds: what is later never ends, or is in milliseconds. */
const LATEST_EXP = 253_402_300_799;

/** Longest `kid` looked for, in UTF-16 units. */
const MAX_KID_LENGTH = 256;

interface Issuer extends Omit<ResolvedIssuer, 'keys'> {
  readonly keys: FixedKeys | PublishedKeys;
}

/** Whose tokens are accepted, at one time. */
interface Judges {
  readonly issuers: readonly Issuer[];
  readonly byName: ReadonlyMap<string, Issuer>;
  /** Judges the tokens that name no issuer of the map. */
  readonly fallback: Issuer | undefined;
  /** Set when there is one issuer with one key: a token need not be looked into to know by which it is judged. */
  readonly onlyKey: KeyObject | undefined;
  readonly published: readonly PublishedKeys[];
  readonly claims: ClaimOptions;
}

/** Where roles and scopes stand in a token. */
export interface ClaimOptions {
  readonly roles: ClaimNames;
  readonly scopes: ClaimNames;
}

/** Verifies JWTs (RFC 7519 §7.2, RFC 8725). */
export class JwtAuthenticator extends Authenticator {
  // Who comes back with the same token, as all do after a restart of a proxy, is not verified again while it lasts.
  readonly #verified = new Map<string, Principal>();
  #judges: Judges;

  /** @param clock the time of day for what tokens say, and monotonic for the age of published keys */
  constructor(
    issuers: readonly ResolvedIssuer[],
    claims: ClaimOptions,
    private readonly clock: Pick<WsClock, 'now' | 'monotonic'>,
    private readonly jwt: JwtService,
  ) {
    super();
    this.#judges = judgesOf(issuers, claims, (uri) => this.#publishedKeys(uri));
  }

  /** @throws Error when a package is missing that the options ask for */
  async start(): Promise<void> {
    for (const keys of this.#judges.published) await keys.start();
  }

  /**
   * @internal Makes other issuers ready. What it returns puts them in the place of the old ones, and nothing that was verified
   * by those is remembered then; sessions that are there stay.
   *
   * @throws Error when a package is missing that the options ask for
   */
  async prepare(issuers: readonly ResolvedIssuer[], claims: ClaimOptions): Promise<() => void> {
    const old = this.#judges.published;
    // Keys that have been fetched already are still those of their address.
    const judges = judgesOf(
      issuers,
      claims,
      (uri) => old.find((keys) => keys.uri.href === uri.href) ?? this.#publishedKeys(uri),
    );
    for (const keys of judges.published) if (!old.includes(keys)) await keys.start();
    return () => {
      this.#judges = judges;
      this.#verified.clear();
    };
  }

  #publishedKeys(uri: URL): PublishedKeys {
    return new PublishedKeys(
      uri,
      () => this.clock.monotonic(),
      () => this.#verified.clear(),
    );
  }

  /** An issuer whose keys have never been there: its tokens cannot be told from forged ones. */
  get problem(): string | undefined {
    const without = this.#judges.issuers.find(({ keys }) => keys instanceof PublishedKeys && keys.size === 0);
    return without === undefined ? undefined : 'the keys of an issuer have not been fetched';
  }

  /** How many verified tokens are remembered. */
  get size(): number {
    return this.#verified.size;
  }

  /** @throws GatewayError TOKEN_INVALID, TOKEN_EXPIRED; OVERLOADED while keys cannot be fetched */
  override authenticate(token: string, context?: AuthenticationContext): Principal | Promise<Principal> {
    const digest = digestOf(token);
    const known = this.#verified.get(digest);
    if (known !== undefined && known.expiresAt > this.clock.now()) {
      for (const keys of this.#judges.published) keys.refresh();
      return known;
    }
    return withoutStacks(() => {
      const judges = this.#judges;
      const { issuers, onlyKey } = judges;
      if (onlyKey !== undefined) return this.#verify(token, digest, issuers[0] as Issuer, onlyKey); // because it is the only one's
      const { issuer, kid, algorithm, payload } = this.#judge(token);
      let key: KeyObject | undefined | Promise<KeyObject | undefined> = keyOf(issuer, kid, algorithm);
      if (key === undefined && issuer.keys instanceof PublishedKeys) {
        this.#refuseImplausible(token, payload, issuer);
        key = issuer.keys.lookUp(kid, algorithm, context?.isSuspect === true);
      }
      if (!isThenable(key)) return this.#verify(token, digest, issuer, key);
      return Promise.resolve(key).then((found) => {
        if (judges !== this.#judges) return this.authenticate(token, context); // who judges it has changed meanwhile
        return withoutStacks(() => this.#verify(token, digest, issuer, found));
      });
    });
  }

  /** By which issuer a token is to be judged, which its own words decide; nothing of them is believed yet. */
  #judge(token: string): {
    issuer: Issuer;
    kid: string | undefined;
    algorithm: Algorithm;
    payload: Record<string, unknown>;
  } {
    const [header, payload] = token.split('.', 2).map(jsonOf);
    if (header === undefined || payload === undefined) throw invalid('malformed');
    const { kid } = header;
    const { byName, fallback } = this.#judges;
    const named = typeof payload.iss === 'string' ? byName.get(payload.iss) : undefined;
    const issuer = named ?? fallback;
    if (issuer === undefined) throw invalid('iss is no issuer of ours');
    const algorithm = issuer.algorithms.find((name) => name === header.alg);
    if (algorithm === undefined) throw invalid('alg is not accepted');
    if (kid !== undefined && (typeof kid !== 'string' || kid.length > MAX_KID_LENGTH))
      throw invalid('kid is malformed');
    return { issuer, kid, algorithm, payload };
  }

  /**
   * A token that would be refused whatever its key is gets no look-up: these are scarce, and strangers invent key ids.
   *
   * @throws GatewayError TOKEN_INVALID, TOKEN_EXPIRED
   */
  #refuseImplausible(token: string, { iss, aud, exp, nbf, iat }: Record<string, unknown>, issuer: Issuer): void {
    const { issuer: names, audience, clockToleranceSec } = issuer;
    const now = Math.floor(this.clock.now() / 1000);
    if (!/^[^.]+\.[^.]+\.[^.]+$/.test(token)) throw invalid('malformed');
    if (names !== undefined && !names.some((name) => name === iss)) throw invalid('iss is no issuer of ours');
    const audiences: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
    if (audience && !audience.some((name) => audiences.includes(name))) throw invalid('aud is not ours');
    if (typeof exp !== 'number' || !(exp <= LATEST_EXP)) throw invalid('exp is missing, or no time in seconds');
    for (const time of [nbf, iat]) {
      if (time === undefined) continue;
      if (typeof time !== 'number' || time > now + clockToleranceSec) throw invalid('nbf or iat is in the future');
    }
    if (now >= exp + clockToleranceSec) throw new GatewayError('TOKEN_EXPIRED');
  }

  #verify(token: string, digest: string, issuer: Issuer, key: KeyObject | undefined): Principal {
    if (key === undefined) throw invalid('no key has this kid');
    const { algorithms, audience, clockToleranceSec } = issuer;
    let verified: { header?: unknown; payload?: unknown };
    try {
      verified = this.jwt.verify(token, {
        secret: key as unknown as string, // because the option is a string in its types, and a KeyObject costs a thirtieth
        algorithms: [...algorithms],
        clockTolerance: clockToleranceSec,
        clockTimestamp: Math.floor(this.clock.now() / 1000),
        complete: true,
        ...(issuer.issuer !== undefined && { issuer: issuer.issuer as [string, ...string[]] }), // because the options refuse an empty list
        ...(audience !== undefined && audience !== false && { audience: audience as [string, ...string[]] }),
      });
    } catch (error) {
      const reason = error as Error;
      if (reason.name === 'TokenExpiredError') throw new GatewayError('TOKEN_EXPIRED');
      // What a parser says quotes the token; what jsonwebtoken says names no claim's value.
      throw invalid(OWN_WORDS.has(reason.name) ? reason.message : 'malformed');
    }
    const origin = { digest: revocationDigestOf(token), toleranceMs: clockToleranceSec * 1000 };
    const principal = this.#principalOf(verified, issuer, origin);
    if (token.length <= MAX_REMEMBERED_BYTES) this.#remember(digest, principal);
    return principal;
  }

  /** What jsonwebtoken leaves open. */
  #principalOf(
    { header, payload }: { header?: unknown; payload?: unknown },
    issuer: Issuer,
    origin: Origin,
  ): Principal {
    if (isJsonObject(header) && 'crit' in header) throw invalid('critical header parameters are not understood'); // RFC 7515 §4.1.11
    if (!isJsonObject(payload)) throw invalid('payload is no object');
    const { exp, iat } = payload;
    const subject = subjectOf(payload, issuer);
    if (typeof exp !== 'number') throw invalid('exp is missing');
    if (!(exp <= LATEST_EXP)) throw invalid('exp is no time in seconds');
    const latestIssue = this.clock.now() + origin.toleranceMs;
    if (iat !== undefined && (typeof iat !== 'number' || iat * 1000 > latestIssue))
      throw invalid('iat is in the future');
    const { claims } = this.#judges;
    const roles = allowed(namesIn(payload, claims.roles), issuer.roles);
    const scopes = allowed(namesIn(payload, claims.scopes), issuer.scopes);
    return principalOf({ subject, roles, scopes, claims: payload, expiresAt: exp * 1000 }, origin);
  }

  #remember(digest: string, principal: Principal): void {
    this.#verified.delete(digest); // so that it is the youngest again
    this.#verified.set(digest, principal);
    if (this.#verified.size <= MAX_REMEMBERED) return;
    for (const oldest of this.#verified.keys()) return void this.#verified.delete(oldest);
  }
}

function judgesOf(
  resolved: readonly ResolvedIssuer[],
  claims: ClaimOptions,
  published: (uri: URL) => PublishedKeys,
): Judges {
  const issuers: readonly Issuer[] = resolved.map((issuer) => ({
    ...issuer,
    keys: 'jwksUri' in issuer.keys ? published(issuer.keys.jwksUri) : issuer.keys,
  }));
  const byName = new Map<string, Issuer>();
  for (const issuer of issuers) for (const name of issuer.issuer ?? []) byName.set(name, issuer);
  const only = issuers.length === 1 ? issuers[0]?.keys : undefined;
  const isFixed = only !== undefined && !(only instanceof PublishedKeys);
  return {
    issuers,
    byName,
    fallback: issuers.find(({ issuer }) => issuer === undefined),
    onlyKey: isFixed && only.named.size === 0 ? only.unnamed : undefined,
    published: issuers.flatMap(({ keys }) => (keys instanceof PublishedKeys ? [keys] : [])),
    claims: { roles: claims.roles, scopes: claims.scopes },
  };
}

/** @throws GatewayError TOKEN_INVALID; TypeError when the application's function returns no name */
function subjectOf(claims: Record<string, unknown>, { subject, subjectPrefix }: Issuer): string {
  if (subject !== undefined) {
    const name: unknown = subject(claims);
    if (typeof name === 'string' && name !== '') return subjectPrefix + name;
    contain(
      () => name, // a promise that rejects later must not end the process
      () => undefined,
    );
    throw new TypeError('A function of auth.jwt.subject must return a string that is not empty');
  }
  const { sub } = claims;
  if (sub === undefined) throw invalid('sub is missing');
  // RFC 7519 §4.1.2 wants a string; many sign the number that their database has, as Nest's documentation does.
  if (Number.isSafeInteger(sub)) return subjectPrefix + String(sub);
  if (typeof sub !== 'string' || sub === '') throw invalid('sub is neither a string nor a whole number that is exact');
  return subjectPrefix + sub;
}

function allowed(names: readonly string[], allowedNames: AllowedNames): readonly string[] {
  return allowedNames === 'all' ? names : names.filter((name) => allowedNames.includes(name));
}

function keyOf({ keys }: Issuer, kid: string | undefined, algorithm: Algorithm): KeyObject | undefined {
  if (keys instanceof PublishedKeys) return keys.find(kid, algorithm);
  const key = kid === undefined || keys.named.size === 0 ? keys.unnamed : keys.named.get(kid);
  return key !== undefined && fits(algorithm, key) ? key : undefined;
}

/** A refused token is no mistake in this code: a flood of them must not cost a stack each. */
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
