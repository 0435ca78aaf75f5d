import { createPublicKey, createSecretKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { OptionCheck } from '../../base/options.js';

/** Signature algorithms a token may have (RFC 7518 §3.1). `none` is not among them and cannot be. */
export const ALGORITHMS = [
  'HS256',
  'HS384',
  'HS512',
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

const ASYMMETRIC: readonly Algorithm[] = ALGORITHMS.filter((algorithm) => !algorithm.startsWith('HS'));

/** One issuer of tokens: its keys, of one kind, and what its tokens have to say. */
export interface JwtIssuerOptions {
  /** HMAC secret, at least 32 bytes (RFC 7518 §3.2), for tokens without a `kid`, or for all when there are no `secrets`. */
  secret?: string | Uint8Array;
  /** HMAC secrets by `kid`: during a rotation the old and the new one. A token with another `kid` is refused. */
  secrets?: Readonly<Record<string, string | Uint8Array>>;
  /** PEM of an RSA or EC public key, or of a certificate that holds one; for tokens as `secret` is. */
  publicKey?: string | Uint8Array;
  /** Public keys by `kid`, as `secrets` are. */
  publicKeys?: Readonly<Record<string, string | Uint8Array>>;
  /** Where the issuer publishes its keys (RFC 7517 §5): https, or http on this machine. */
  jwksUri?: string;
  /**
   * Algorithms accepted; each has to fit a key. @default HS256 for secrets, RS256 or the curve's ES for public keys, all
   * RS, PS and ES with `jwksUri`, where the type of the key, and its own `alg`, decide
   */
  algorithms?: readonly Algorithm[];
  /** Accepted `iss`; any when unset or `false`. Needed with `jwksUri`, whose keys may sign for other issuers too, unless `false` is said. */
  issuer?: string | readonly string[] | false;
  /**
   * Accepted `aud`; any when unset or `false`. Needed with `jwksUri`, whose keys sign tokens for every application of the provider,
   * unless `false` is said.
   */
  audience?: string | readonly string[] | false;
  /** Tolerance for `exp`, `nbf` and `iat` at authentication, in seconds, 0 to 300. @default 5 */
  clockToleranceSec?: number;
  /**
   * Roles that tokens of this issuer may have; a role that is not listed is left out. @default 'all' for the first issuer, none
   * for each further one
   */
  roles?: AllowedNames;
  /** Scopes that tokens of this issuer may have, as `roles`. */
  scopes?: AllowedNames;
  /** The subject that a token's claims stand for: a string, not empty. @default `sub` */
  subject?: SubjectOf;
  /** Stands before each subject of this issuer, so that its `ada` is another than the first issuer's. 1 to 128 characters. */
  subjectPrefix?: string;
}

/** Which roles, or scopes, an issuer may give. */
export type AllowedNames = 'all' | readonly string[];

/** The subject that verified claims stand for. */
export type SubjectOf = (claims: Readonly<Record<string, unknown>>) => string;

export interface JwtOptions extends JwtIssuerOptions {
  /**
   * More issuers, each with an `issuer` of its own; `audience` and `clockToleranceSec` are those above where it has none.
   * A token is judged by the issuer that its `iss` names, and by no other. The first issuer is the one above, or the first of
   * these where there is no key above: a further one gives only the `roles` and `scopes` that it is allowed.
   */
  issuers?: readonly (Omit<JwtIssuerOptions, 'issuer'> & { issuer: string | readonly string[] })[];
}

export const JWT_DEFAULTS = Object.freeze({ clockToleranceSec: 5 });

/** Keys that are configured. */
export interface FixedKeys {
  /** For a token without a `kid`, and for every token when no key has one. */
  readonly unnamed: KeyObject | undefined;
  // Map, not object: "__proto__" is a legal `kid`.
  readonly named: ReadonlyMap<string, KeyObject>;
}

/** An issuer with its keys read and every default filled in. */
export interface ResolvedIssuer {
  readonly keys: FixedKeys | { readonly jwksUri: URL };
  readonly algorithms: readonly Algorithm[];
  /** Undefined for the one that is asked about every token that no other claims. */
  readonly issuer: readonly string[] | undefined;
  /** Undefined: not set; false: every one is accepted. */
  readonly audience: readonly string[] | false | undefined;
  readonly clockToleranceSec: number;
  readonly roles: AllowedNames;
  readonly scopes: AllowedNames;
  /** Undefined: `sub`. */
  readonly subject: SubjectOf | undefined;
  readonly subjectPrefix: string;
}

const ISSUER_OPTIONS = [
  'secret',
  'secrets',
  'publicKey',
  'publicKeys',
  'jwksUri',
  'algorithms',
  'issuer',
  'audience',
  'clockToleranceSec',
  'roles',
  'scopes',
  'subject',
  'subjectPrefix',
] as const;

/** What says nothing where the issuer has no key. */
const NEED_A_KEY = ['algorithms', 'issuer', 'roles', 'scopes', 'subject', 'subjectPrefix'] as const;

/** @returns the issuers; the complaints are in `check` */
export function resolveIssuers(check: OptionCheck, value: unknown, at: string): readonly ResolvedIssuer[] {
  const jwt = check.object(value, at, [...ISSUER_OPTIONS, 'issuers']);
  const own = readIssuer(check, jwt, at, { audience: undefined, ...JWT_DEFAULTS }, true);
  if (jwt.issuers === undefined) {
    if (own.keys === undefined) check.problem(at, 'needs a secret or a publicKey, a jwksUri, or issuers with keys');
    return [own].filter(hasKeys);
  }
  if (!Array.isArray(jwt.issuers) || jwt.issuers.length === 0) {
    check.problem(`${at}.issuers`, 'must be a list of one or more issuers');
    return [];
  }
  if (own.keys === undefined && NEED_A_KEY.some((name) => jwt[name] !== undefined)) {
    check.problem(at, `has ${NEED_A_KEY.join(', ')}, and no key beside the issuers to go with them`);
  }
  const others = jwt.issuers.map((item: unknown, index) => {
    const place = `${at}.issuers[${index}]`;
    const given = check.object(item, place, ISSUER_OPTIONS);
    if ((given.issuer ?? false) === false)
      check.problem(`${place}.issuer`, 'is needed: it says which tokens are meant');
    const issuer = readIssuer(check, given, place, own, own.keys === undefined && index === 0);
    if (issuer.keys === undefined) check.problem(place, 'needs a secret, a publicKey or a jwksUri');
    return issuer;
  });
  const issuers = [own, ...others].filter(hasKeys);
  const names = issuers.flatMap(({ issuer }) => issuer ?? []);
  if (new Set(names).size < names.length) check.problem(`${at}.issuers`, 'must not name an issuer twice');
  return issuers;
}

type Keys = ResolvedIssuer['keys'];

function hasKeys(issuer: Omit<ResolvedIssuer, 'keys'> & { keys: Keys | undefined }): issuer is ResolvedIssuer {
  return issuer.keys !== undefined;
}

function readIssuer(
  check: OptionCheck,
  given: Record<string, unknown>,
  at: string,
  inherited: Pick<ResolvedIssuer, 'audience' | 'clockToleranceSec'>,
  isFirst: boolean,
): Omit<ResolvedIssuer, 'keys'> & { keys: Keys | undefined } {
  const { clockToleranceSec } = inherited;
  const algorithms = check.list(given.algorithms, `${at}.algorithms`, ALGORITHMS);
  const keys = readKeys(check, given, at);
  const audience = readAudience(check, given.audience, `${at}.audience`) ?? inherited.audience;
  if (keys !== undefined && 'jwksUri' in keys) checkSaid(check, given.issuer, audience, at);
  return {
    keys,
    algorithms: resolveAlgorithms(check, algorithms, keys, `${at}.algorithms`),
    issuer: given.issuer === false ? undefined : check.names(given.issuer, `${at}.issuer`),
    audience,
    clockToleranceSec: check.integer(given.clockToleranceSec, `${at}.clockToleranceSec`, 0, 300, clockToleranceSec),
    roles: readAllowed(check, given.roles, `${at}.roles`, isFirst),
    scopes: readAllowed(check, given.scopes, `${at}.scopes`, isFirst),
    subject: check.callable(given.subject, `${at}.subject`) as SubjectOf | undefined, // because what it returns is checked each time
    subjectPrefix: check.text(given.subjectPrefix, `${at}.subjectPrefix`, 1, 128) ?? '',
  };
}

function readAudience(check: OptionCheck, value: unknown, at: string): ResolvedIssuer['audience'] {
  return value === false ? false : check.names(value, at);
}

/** A provider's keys sign for all its applications and, at some, for all its customers: whose tokens are meant has to be said. */
function checkSaid(check: OptionCheck, issuer: unknown, audience: ResolvedIssuer['audience'], at: string): void {
  const open = 'with a jwksUri, whose keys sign for others as well; false accepts any';
  if (audience === undefined) check.problem(`${at}.audience`, `is needed ${open}`);
  if (issuer === undefined) check.problem(`${at}.issuer`, `is needed ${open}`);
}

/** Only the first issuer is trusted to say by itself who is an administrator. */
function readAllowed(check: OptionCheck, value: unknown, at: string, isFirst: boolean): AllowedNames {
  if (value === undefined) return isFirst ? 'all' : [];
  if (value === 'all') return 'all';
  if (Array.isArray(value) && value.every((name) => typeof name === 'string' && name !== '')) return value as string[];
  check.problem(at, 'must be "all" or a list of names');
  return [];
}

/** Keys are of one kind for each issuer, so that none is ever taken for one of another kind. */
function readKeys(check: OptionCheck, given: Record<string, unknown>, at: string): Keys | undefined {
  const { secret, secrets, publicKey, publicKeys, jwksUri } = given;
  const kinds = [secret ?? secrets, publicKey ?? publicKeys, jwksUri].filter((kind) => kind !== undefined);
  if (kinds.length === 0) return undefined;
  if (kinds.length > 1) check.problem(at, 'takes keys of one kind: secrets, public keys or a jwksUri, not both');
  if (jwksUri !== undefined) return { jwksUri: readUri(check, jwksUri, `${at}.jwksUri`) };
  return (secret ?? secrets) !== undefined
    ? fixedKeys(check, secret, secrets, at, ['secret', 'secrets'], readSecret)
    : fixedKeys(check, publicKey, publicKeys, at, ['publicKey', 'publicKeys'], readPublicKey);
}

type Reader = (check: OptionCheck, value: unknown, at: string) => KeyObject | undefined;

function fixedKeys(
  check: OptionCheck,
  one: unknown,
  several: unknown,
  at: string,
  [oneName, severalName]: [string, string],
  read: Reader,
): FixedKeys {
  const unnamed = one === undefined ? undefined : read(check, one, `${at}.${oneName}`);
  const named = new Map<string, KeyObject>();
  if (several !== undefined) {
    const place = `${at}.${severalName}`;
    const given = check.record(several, place);
    if (given !== undefined && Object.keys(given).length === 0) check.problem(place, 'must have one key or more');
    for (const [kid, value] of Object.entries(given ?? {})) {
      const key = read(check, value, `${place}[${JSON.stringify(kid)}]`);
      if (key !== undefined) named.set(kid, key);
    }
  }
  return { unnamed, named };
}

function resolveAlgorithms(
  check: OptionCheck,
  given: readonly Algorithm[] | undefined,
  keys: Keys | undefined,
  at: string,
): readonly Algorithm[] {
  if (keys === undefined) return [];
  if ('jwksUri' in keys) {
    const unfit = given?.find((algorithm) => !ASYMMETRIC.includes(algorithm));
    if (unfit !== undefined) check.problem(at, `${unfit} does not fit a published key`);
    return given ?? ASYMMETRIC;
  }
  const all = [...(keys.unnamed === undefined ? [] : [keys.unnamed]), ...keys.named.values()];
  if (given === undefined) {
    const first = (key: KeyObject): Algorithm | undefined => ALGORITHMS.find((algorithm) => fits(algorithm, key));
    return ALGORITHMS.filter((algorithm) => all.some((key) => first(key) === algorithm));
  }
  if (all.length === 0) return given; // what is wrong with the keys has been said
  const unfit = given.filter((algorithm) => !all.some((key) => fits(algorithm, key)));
  for (const algorithm of unfit) check.problem(at, `${algorithm} does not fit the key that is configured`);
  if (unfit.length === 0 && all.some((key) => !given.some((algorithm) => fits(algorithm, key))))
    check.problem(at, 'has none that fits one of the keys');
  return given;
}

/** RFC 7518 §3.2: a key of HS256 has at least as many bits as its hash. */
export const MIN_SECRET_BYTES = 32;

function readSecret(check: OptionCheck, value: unknown, at: string): KeyObject | undefined {
  const bytes = bytesOf(value);
  if (bytes === undefined) return void check.problem(at, 'must be a string or bytes');
  if (bytes.length < MIN_SECRET_BYTES) {
    return void check.problem(at, `must be at least ${MIN_SECRET_BYTES} bytes, got ${bytes.length}`);
  }
  return createSecretKey(bytes);
}

function readPublicKey(check: OptionCheck, value: unknown, at: string): KeyObject | undefined {
  const pem = bytesOf(value);
  if (pem === undefined) return void check.problem(at, 'must be a PEM string or bytes');
  // createPublicKey derives a public key from a private one: a private key in a verifier's configuration is a leak.
  if (pem.includes('PRIVATE KEY')) return void check.problem(at, 'is a private key; give the public one');
  try {
    const key = createPublicKey(pem);
    const weakness = weaknessOf(key);
    if (weakness !== undefined) check.problem(at, weakness);
    return key;
  } catch {
    // OpenSSL's own words name neither the option nor the mistake.
    return void check.problem(at, 'is not a PEM public key');
  }
}

/** Why a public key is of no use; undefined when it is. */
export function weaknessOf(key: KeyObject): string | undefined {
  const bits = key.asymmetricKeyDetails?.modulusLength;
  if (bits !== undefined && bits < 2048) return `must have at least 2048 bits, got ${bits}`; // RFC 7518 §3.3
  if (!ALGORITHMS.some((algorithm) => fits(algorithm, key))) return 'must be an RSA or EC P-256, P-384 or P-521 key';
  return undefined;
}

const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;

/** Who can put keys into the answer signs whatever tokens he likes, so the answer has to come over TLS. */
function readUri(check: OptionCheck, value: unknown, at: string): URL {
  const url = typeof value === 'string' && URL.canParse(value) ? new URL(value) : undefined;
  const isSafe = url?.protocol === 'https:' || (url?.protocol === 'http:' && LOOPBACK.test(url.hostname));
  const isBare = url?.username === '' && url.password === ''; // with these, fetch refuses it, and quotes it
  if (url !== undefined && isSafe && isBare) return url;
  check.problem(at, 'must be an https URL, or an http one on this machine, without a name and a password');
  return new URL('https://localhost');
}

const CURVES: Record<string, string> = { ES256: 'prime256v1', ES384: 'secp384r1', ES512: 'secp521r1' };

/** An algorithm is bound to the type of the key (RFC 8725 §3.1): a public key never verifies an HMAC. */
export function fits(algorithm: Algorithm, key: KeyObject): boolean {
  if (key.type === 'secret') return algorithm.startsWith('HS');
  if (key.asymmetricKeyType === 'rsa') return algorithm.startsWith('RS') || algorithm.startsWith('PS');
  if (key.asymmetricKeyType === 'rsa-pss') return algorithm.startsWith('PS');
  return key.asymmetricKeyType === 'ec' && CURVES[algorithm] === key.asymmetricKeyDetails?.namedCurve;
}

function bytesOf(value: unknown): Buffer | undefined {
  if (typeof value === 'string') return Buffer.from(value, 'utf8');
  return value instanceof Uint8Array ? Buffer.from(value) : undefined;
}
