import { createPublicKey, createSecretKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { callable, group, membersOf, names, Option, someOf, text, whole } from '../../base/options.js';
import type { GivenOf, Place, Resolved, ResolvedOf } from '../../base/options.js';

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

/** Which roles, or scopes, an issuer may give. */
export type AllowedNames = 'all' | readonly string[];

/** The subject that verified claims stand for. */
export type SubjectOf = (claims: Readonly<Record<string, unknown>>) => string;

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
  /** Undefined: it judges every token that names no other issuer. */
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

/** The complaint about options without any key. */
export const NEEDS_KEYS = 'needs a secret or a publicKey, a jwksUri, or issuers with keys';

/** RFC 7518 §3.2: a key of HS256 has at least as many bits as its hash. */
export const MIN_SECRET_BYTES = 32;

/** One issuer of tokens: its keys, of one kind, and the claims that its tokens need. */
const ISSUER = group(
  {
    /** HMAC secret, at least 32 bytes (RFC 7518 §3.2), for tokens without a `kid`, or for all when there are no `secrets`. */
    secret: keyBy(readSecret),
    /** HMAC secrets by `kid`: during a rotation the old and the new one. A token with another `kid` is refused. */
    secrets: keysBy(readSecret),
    /** PEM of an RSA or EC public key, or of a certificate that holds one; for tokens as `secret` is. */
    publicKey: keyBy(readPublicKey),
    /** Public keys by `kid`, as `secrets` are. */
    publicKeys: keysBy(readPublicKey),
    /** Where the issuer publishes its keys (RFC 7517 §5): https, or http on this machine. */
    jwksUri: new Option<string, URL | undefined>(undefined, { type: 'string' }, readUri),
    /**
     * Algorithms accepted; each has to fit a key. @default HS256 for secrets, RS256 or the curve's ES for public keys, all
     * RS, PS and ES with `jwksUri`, where the type of the key, and its own `alg`, decide
     */
    algorithms: someOf(ALGORITHMS),
    /** Accepted `iss`; any when unset or `false`. Needed with `jwksUri`, whose keys may sign for other issuers too, unless `false` is said. */
    issuer: namesOrFalse(),
    /**
     * Accepted `aud`; any when unset or `false`. Needed with `jwksUri`, whose keys sign tokens for every application of the provider,
     * unless `false` is said.
     */
    audience: namesOrFalse(),
    /** Tolerance for `exp`, `nbf` and `iat` at authentication, in seconds. */
    clockToleranceSec: whole(0, 300),
    /**
     * Roles that tokens of this issuer may have; a role that is not listed is left out. @default 'all' for the first issuer, none
     * for each further one
     */
    roles: allowedNames(),
    /** Scopes that tokens of this issuer may have, as `roles`. */
    scopes: allowedNames(),
    /** The subject that a token's claims stand for: a string, not empty. @default `sub` */
    subject: callable<SubjectOf>(),
    /** Stands before each subject of this issuer, so that its `ada` is another than the first issuer's. */
    subjectPrefix: text(1, 128),
  },
  // The values that it inherits are not known yet.
  (read, place, given) => ({ read, place, given }),
);

export interface JwtIssuerOptions extends GivenOf<typeof ISSUER> {}
type Draft = ResolvedOf<typeof ISSUER>;
export interface FurtherIssuerOptions extends JwtIssuerOptions {
  /** Accepted `iss`: it says which tokens are meant. */
  issuer: string | readonly string[];
}

const OF_ALL = {
  /** Tolerance for `exp`, `nbf` and `iat` at authentication, in seconds; also of the further issuers that have none. */
  clockToleranceSec: whole(0, 300, 5),
  /**
   * More issuers, each with an `issuer` of its own; `audience` and `clockToleranceSec` are those above where it has none.
   * A token is judged by the issuer that its `iss` names, and by no other. The first issuer is the one above, or the first of
   * these where there is no key above: a further one gives only the `roles` and `scopes` that it is allowed.
   */
  issuers: new Option<readonly FurtherIssuerOptions[], readonly Draft[] | undefined>(
    undefined,
    { type: 'array', minItems: 1, items: { ...ISSUER.schema, required: ['issuer'] } },
    (given, place) =>
      Array.isArray(given) && given.length > 0
        ? given.map((item: unknown, index) => ISSUER.read(item, place.item(index)))
        : place.complain('must be a list of one or more issuers'),
  ),
};

// Written down as a type, so that the published declarations keep the doc comments.
type JwtMembers = Omit<(typeof ISSUER)['members'], keyof typeof OF_ALL> & typeof OF_ALL;

/** How tokens are verified. */
export const JWT = group<JwtMembers, readonly ResolvedIssuer[]>({ ...ISSUER.members, ...OF_ALL }, issuersOf);

export interface JwtOptions extends GivenOf<typeof JWT> {}

/** Options without effect for an issuer without a key. */
const NEED_A_KEY = ['algorithms', 'issuer', 'roles', 'scopes', 'subject', 'subjectPrefix'] as const;

function issuersOf(
  { issuers: further = [], ...read }: Resolved<JwtMembers>,
  place: Place,
  given: Draft['given'],
): readonly ResolvedIssuer[] {
  const own = issuerOf(
    { read, place, given },
    { audience: undefined, clockToleranceSec: read.clockToleranceSec },
    true,
  );
  if (own.keys === undefined && given.issuers === undefined) place.complain(NEEDS_KEYS);
  if (own.keys === undefined && further.length > 0 && NEED_A_KEY.some((name) => given[name] !== undefined)) {
    place.complain(`has ${NEED_A_KEY.join(', ')}, and no key beside the issuers to go with them`);
  }
  const others = further.map((draft, index) => {
    if ((draft.given.issuer ?? false) === false)
      draft.place.member('issuer').complain('is needed: it says which tokens are meant');
    const issuer = issuerOf(draft, own, own.keys === undefined && index === 0);
    if (issuer.keys === undefined) draft.place.complain('needs a secret, a publicKey or a jwksUri');
    return issuer;
  });
  const issuers = [own, ...others].filter(hasKeys);
  const said = issuers.flatMap(({ issuer }) => issuer ?? []);
  if (new Set(said).size < said.length) place.member('issuers').complain('must not name an issuer twice');
  return issuers;
}

type Keys = ResolvedIssuer['keys'];
type MaybeIssuer = Omit<ResolvedIssuer, 'keys'> & { readonly keys: Keys | undefined };

function hasKeys(issuer: MaybeIssuer): issuer is ResolvedIssuer {
  return issuer.keys !== undefined;
}

/** @param isFirst only the first issuer may give any role without being told so */
function issuerOf(
  { read, place, given }: Draft,
  inherited: Pick<ResolvedIssuer, 'audience' | 'clockToleranceSec'>,
  isFirst: boolean,
): MaybeIssuer {
  const keys = keysOf(read, place, given);
  const { audience = inherited.audience, clockToleranceSec = inherited.clockToleranceSec } = read;
  if (keys !== undefined && 'jwksUri' in keys) checkSaid(given.issuer, audience, place);
  const all = isFirst ? 'all' : [];
  return {
    keys,
    algorithms: algorithmsOf(read.algorithms, keys, place.member('algorithms')),
    issuer: read.issuer === false ? undefined : read.issuer,
    audience,
    clockToleranceSec,
    roles: read.roles ?? all,
    scopes: read.scopes ?? all,
    subject: read.subject,
    subjectPrefix: read.subjectPrefix ?? '',
  };
}

/** A provider's keys sign for all its applications, and some sign for all its customers, so the options have to say whose tokens are meant. */
function checkSaid(issuer: unknown, audience: ResolvedIssuer['audience'], place: Place): void {
  const open = 'with a jwksUri, whose keys sign for others as well; false accepts any';
  if (audience === undefined) place.member('audience').complain(`is needed ${open}`);
  if (issuer === undefined) place.member('issuer').complain(`is needed ${open}`);
}

/** An issuer has keys of one kind, so no key is ever used as one of another kind. */
function keysOf(read: Draft['read'], place: Place, given: Draft['given']): Keys | undefined {
  const kinds = [given.secret ?? given.secrets, given.publicKey ?? given.publicKeys, given.jwksUri];
  const many = kinds.filter((kind) => kind !== undefined).length;
  if (many === 0) return undefined;
  if (many > 1) place.complain('takes keys of one kind: secrets, public keys or a jwksUri, not both');
  if (given.jwksUri !== undefined) return { jwksUri: read.jwksUri as URL }; // because a bad one has been complained of
  const [unnamed, named] = kinds[0] === undefined ? [read.publicKey, read.publicKeys] : [read.secret, read.secrets];
  return { unnamed, named: named ?? new Map<string, KeyObject>() };
}

function algorithmsOf(
  given: readonly Algorithm[] | undefined,
  keys: Keys | undefined,
  place: Place,
): readonly Algorithm[] {
  if (keys === undefined) return [];
  if ('jwksUri' in keys) {
    const unfit = given?.find((algorithm) => !ASYMMETRIC.includes(algorithm));
    if (unfit !== undefined) place.complain(`${unfit} does not fit a published key`);
    return given ?? ASYMMETRIC;
  }
  const all = [...(keys.unnamed === undefined ? [] : [keys.unnamed]), ...keys.named.values()];
  if (given === undefined) {
    const first = (key: KeyObject): Algorithm | undefined => ALGORITHMS.find((algorithm) => fits(algorithm, key));
    return ALGORITHMS.filter((algorithm) => all.some((key) => first(key) === algorithm));
  }
  if (all.length === 0) return given; // the keys have their complaint already
  const unfit = given.filter((algorithm) => !all.some((key) => fits(algorithm, key)));
  for (const algorithm of unfit) place.complain(`${algorithm} does not fit the key that is configured`);
  if (unfit.length === 0 && all.some((key) => !given.some((algorithm) => fits(algorithm, key))))
    place.complain('has none that fits one of the keys');
  return given;
}

type Reader = (given: unknown, place: Place) => KeyObject | undefined;

/** A JSON file has it as text. Complaints about it quote nothing, since it is a secret. */
function keyBy(read: Reader): Option<string | Uint8Array, KeyObject | undefined> {
  return new Option(undefined, { type: 'string' }, read);
}

// Map, not object: "__proto__" is a legal `kid`.
function keysBy(
  read: Reader,
): Option<Readonly<Record<string, string | Uint8Array>>, ReadonlyMap<string, KeyObject> | undefined> {
  const schema = { type: 'object', minProperties: 1, additionalProperties: { type: 'string' } };
  return new Option(undefined, schema, (given, place) => {
    const problems = place.problems.length;
    const entries = Object.entries(membersOf(given, place));
    if (entries.length === 0 && place.problems.length === problems) place.complain('must have one key or more');
    const keys = entries.map(([kid, value]) => [kid, read(value, place.item(kid))] as const);
    return new Map(keys.filter((entry): entry is [string, KeyObject] => entry[1] !== undefined));
  });
}

function namesOrFalse(): Option<string | readonly string[] | false, readonly string[] | false | undefined> {
  const some = names();
  const schema = { anyOf: [{ const: false }, some.schema] };
  return new Option(undefined, schema, (given, place) => given !== false && some.read(given, place));
}

function allowedNames(): Option<AllowedNames, AllowedNames | undefined> {
  const schema = { anyOf: [{ const: 'all' }, { type: 'array', items: { type: 'string', minLength: 1 } }] };
  return new Option(undefined, schema, (given, place) => {
    if (given === 'all') return given;
    const isName = (name: unknown): boolean => typeof name === 'string' && name !== '';
    if (Array.isArray(given) && given.every(isName)) return [...(given as string[])];
    return place.complain('must be "all" or a list of names');
  });
}

function readSecret(value: unknown, place: Place): KeyObject | undefined {
  const bytes = bytesOf(value);
  if (bytes === undefined) return place.complain('must be a string or bytes');
  if (bytes.length < MIN_SECRET_BYTES) {
    return place.complain(`must be at least ${MIN_SECRET_BYTES} bytes, got ${bytes.length}`);
  }
  return createSecretKey(bytes);
}

function readPublicKey(value: unknown, place: Place): KeyObject | undefined {
  const pem = bytesOf(value);
  if (pem === undefined) return place.complain('must be a PEM string or bytes');
  // createPublicKey derives a public key from a private one: a private key in a verifier's configuration is a leak.
  if (pem.includes('PRIVATE KEY')) return place.complain('is a private key; give the public one');
  try {
    const key = createPublicKey(pem);
    const weakness = weaknessOf(key);
    if (weakness !== undefined) place.complain(weakness);
    return key;
  } catch {
    // OpenSSL's own words name neither the option nor the mistake.
    return place.complain('is not a PEM public key');
  }
}

/** Why a public key cannot be used; undefined for one that can. */
export function weaknessOf(key: KeyObject): string | undefined {
  const bits = key.asymmetricKeyDetails?.modulusLength;
  if (bits !== undefined && bits < 2048) return `must have at least 2048 bits, got ${bits}`; // RFC 7518 §3.3
  if (!ALGORITHMS.some((algorithm) => fits(algorithm, key))) return 'must be an RSA or EC P-256, P-384 or P-521 key';
  return undefined;
}

const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;

/** An attacker who can change the answer can sign any token, so the answer has to come over TLS. */
function readUri(value: unknown, place: Place): URL | undefined {
  const url = typeof value === 'string' && URL.canParse(value) ? new URL(value) : undefined;
  const isSafe = url?.protocol === 'https:' || (url?.protocol === 'http:' && LOOPBACK.test(url.hostname));
  const isBare = url?.username === '' && url.password === ''; // fetch refuses a URL with these, and its error quotes them
  if (url !== undefined && isSafe && isBare) return url;
  return place.complain('must be an https URL, or an http one on this machine, without a name and a password');
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
