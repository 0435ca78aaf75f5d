import type { KeyObject } from 'node:crypto';
import type { WsClock } from '../../base/clock.js';
import { GatewayError } from '../../protocol/errors.js';
import { contain } from '../../base/contain.js';
import { isThenable } from '../../base/thenable.js';
import type { CredentialOrigin } from '../authenticator.js';
import { namesIn } from '../claims.js';
import type { ClaimNames } from '../claims.js';
import { JwtAuthenticator } from './jwt-authenticator.js';
import { PublishedKeys } from './published-keys.js';
import { isSigned, parseJws } from './jws.js';
import type { Jws } from './jws.js';
import { RecentlyVerified } from './recently-verified.js';
import { fits } from './issuers.js';
import type { Algorithm, AllowedNames, FixedKeys, ResolvedIssuer } from './issuers.js';
import { principalOf } from '../principal.js';
import type { Principal } from '../principal.js';
import { digestOf, invalid } from '../token.js';

/** Longest verified token that is remembered, in bytes: it bounds what its claims cost. */
const MAX_REMEMBERED_BYTES = 2_048;

/** The end of the year 9999, in epoch seconds. A later `exp` never comes, or is in milliseconds by mistake. */
const LATEST_EXP = 253_402_300_799;

/** Longest `kid` of a token, in UTF-16 units. */
const MAX_KID_LENGTH = 256;

interface Issuer extends Omit<ResolvedIssuer, 'keys'> {
  readonly keys: FixedKeys | PublishedKeys;
}

/** The issuers in force; a reload replaces all of them at once. */
interface Issuers {
  readonly issuers: readonly Issuer[];
  readonly byName: ReadonlyMap<string, Issuer>;
  /** Judges the tokens that name no issuer of the map. */
  readonly fallback: Issuer | undefined;
  readonly published: readonly PublishedKeys[];
  readonly claims: ClaimOptions;
}

/** Where roles and scopes stand in a token. */
export interface ClaimOptions {
  readonly roles: ClaimNames;
  readonly scopes: ClaimNames;
}

/** The working class behind {@link JwtAuthenticator}. */
export class JwtVerifier extends JwtAuthenticator {
  // After a restart of a proxy all clients return with the tokens they had, which need no second verification.
  readonly #verified = new RecentlyVerified();
  #issuers: Issuers;

  /** @param clock the time of day for what tokens say, and monotonic for the age of published keys */
  constructor(
    issuers: readonly ResolvedIssuer[],
    claims: ClaimOptions,
    private readonly clock: Pick<WsClock, 'now' | 'monotonic'>,
  ) {
    super();
    this.#issuers = issuersOf(issuers, claims, (uri) => this.#publishedKeys(uri));
  }

  /** Begins to fetch the keys that issuers publish. */
  start(): void {
    for (const keys of this.#issuers.published) keys.start();
  }

  /**
   * Reads other issuers and begins to fetch their keys.
   *
   * @returns what replaces the issuers in force and forgets the tokens that those verified; open sessions stay
   */
  prepare(issuers: readonly ResolvedIssuer[], claims: ClaimOptions): () => void {
    const old = this.#issuers.published;
    // Keys that were fetched from an address before are not fetched again.
    const next = issuersOf(
      issuers,
      claims,
      (uri) => old.find((keys) => keys.uri.href === uri.href) ?? this.#publishedKeys(uri),
    );
    for (const keys of next.published) if (!old.includes(keys)) keys.start();
    return () => {
      this.#issuers = next;
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

  /** Set while an issuer's keys have never been fetched: its tokens cannot be told from forged ones. */
  get problem(): string | undefined {
    const without = this.#issuers.issuers.find(({ keys }) => keys instanceof PublishedKeys && keys.size === 0);
    return without === undefined ? undefined : 'the keys of an issuer have not been fetched';
  }

  /** How many verified tokens are remembered. */
  get size(): number {
    return this.#verified.size;
  }

  override authenticate(token: string, context?: CredentialOrigin): Principal | Promise<Principal> {
    const digest = digestOf(token);
    const known = this.#verified.get(digest);
    if (known !== undefined && known.expiresAt > this.clock.now()) {
      for (const keys of this.#issuers.published) keys.refresh();
      return known;
    }
    return withoutStacks(() => {
      const issuers = this.#issuers;
      const jws = parseJws(token);
      const issuer = issuerOf(jws, issuers);
      const { kid, algorithm } = checkHeader(jws, issuer);
      let key: KeyObject | undefined | Promise<KeyObject | undefined> = keyOf(issuer, kid, algorithm);
      if (key === undefined && issuer.keys instanceof PublishedKeys) {
        // No fetch for a token that would be refused whatever its key is: fetches are limited, and strangers invent key ids.
        this.#checkClaims(jws.payload, issuer);
        key = issuer.keys.lookUp(kid, algorithm, context?.isSuspect === true);
      }
      if (!isThenable(key)) return this.#verify(jws, digest, issuer, algorithm, key);
      return Promise.resolve(key).then((found) => {
        if (issuers !== this.#issuers) return this.authenticate(token, context); // a reload has replaced the issuers meanwhile
        return withoutStacks(() => this.#verify(jws, digest, issuer, algorithm, found));
      });
    });
  }

  #verify(jws: Jws, digest: string, issuer: Issuer, algorithm: Algorithm, key: KeyObject | undefined): Principal {
    if (key === undefined) throw invalid('no key has this kid');
    if (!isSigned(jws, algorithm, key)) throw invalid('invalid signature');
    const { payload, signed, length } = jws;
    const expiresAt = this.#checkClaims(payload, issuer);
    const subject = subjectOf(payload, issuer);
    const { claims } = this.#issuers;
    const roles = allowed(namesIn(payload, claims.roles), issuer.roles);
    const scopes = allowed(namesIn(payload, claims.scopes), issuer.scopes);
    const origin = { digest: digestOf(signed), toleranceMs: issuer.clockToleranceSec * 1000 };
    const principal = principalOf({ subject, roles, scopes, claims: payload, expiresAt }, origin);
    if (length <= MAX_REMEMBERED_BYTES) this.#verified.set(digest, principal);
    return principal;
  }

  /**
   * Checks the claims about the token itself (RFC 7519 §4.1). A token that has expired and is wrong otherwise too is TOKEN_INVALID.
   *
   * @returns when it expires, in epoch milliseconds
   * @throws GatewayError TOKEN_INVALID, TOKEN_EXPIRED
   */
  #checkClaims({ iss, aud, exp, nbf, iat }: Record<string, unknown>, issuer: Issuer): number {
    const { issuer: names, audience, clockToleranceSec } = issuer;
    if (names !== undefined && !names.some((name) => name === iss)) throw invalid('iss is not an accepted issuer');
    if (audience) {
      const audiences: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
      if (!audience.some((name) => audiences.includes(name))) throw invalid('aud is not an accepted audience');
    }
    if (exp === undefined) throw invalid('exp is missing');
    if (typeof exp !== 'number' || !(exp <= LATEST_EXP)) throw invalid('exp is no time in seconds');
    const now = this.clock.now();
    const toleranceMs = clockToleranceSec * 1000;
    if (isAfter(nbf, now + toleranceMs)) throw invalid('nbf is in the future, or no time in seconds');
    if (isAfter(iat, now + toleranceMs)) throw invalid('iat is in the future, or no time in seconds');
    if (now >= exp * 1000 + toleranceMs) throw new GatewayError('TOKEN_EXPIRED');
    return exp * 1000;
  }
}

/** @param seconds the `nbf` or `iat` of a token, which may be missing */
function isAfter(seconds: unknown, timeOfDay: number): boolean {
  return seconds !== undefined && (typeof seconds !== 'number' || seconds * 1000 > timeOfDay);
}

/** The issuer that judges a token. The token's own `iss` selects it, which is safe because that issuer's keys have to verify it. */
function issuerOf({ payload: { iss } }: Jws, { byName, fallback }: Issuers): Issuer {
  const issuer = (typeof iss === 'string' ? byName.get(iss) : undefined) ?? fallback;
  if (issuer === undefined) throw invalid('iss is not an accepted issuer');
  return issuer;
}

function checkHeader({ header }: Jws, { keys, algorithms }: Issuer): { kid: string | undefined; algorithm: Algorithm } {
  const { alg, kid } = header;
  const algorithm = algorithms.find((name) => name === alg);
  if (algorithm === undefined) throw invalid('alg is not accepted');
  if ('crit' in header) throw invalid('critical header parameters are not understood'); // RFC 7515 §4.1.11
  if (!(keys instanceof PublishedKeys) && keys.named.size === 0) return { kid: undefined, algorithm }; // there is one key, so a kid says nothing
  if (kid !== undefined && (typeof kid !== 'string' || kid.length > MAX_KID_LENGTH)) throw invalid('kid is malformed');
  return { kid, algorithm };
}

function issuersOf(
  resolved: readonly ResolvedIssuer[],
  claims: ClaimOptions,
  published: (uri: URL) => PublishedKeys,
): Issuers {
  const issuers: readonly Issuer[] = resolved.map((issuer) => ({
    ...issuer,
    keys: 'jwksUri' in issuer.keys ? published(issuer.keys.jwksUri) : issuer.keys,
  }));
  const byName = new Map<string, Issuer>();
  for (const issuer of issuers) for (const name of issuer.issuer ?? []) byName.set(name, issuer);
  return {
    issuers,
    byName,
    fallback: issuers.find(({ issuer }) => issuer === undefined),
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
  const key = kid === undefined ? keys.unnamed : keys.named.get(kid);
  return key !== undefined && fits(algorithm, key) ? key : undefined;
}

/** Runs without stack traces: a flood of refused tokens must not cost one each. */
function withoutStacks<T>(run: () => T): T {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return run();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}
