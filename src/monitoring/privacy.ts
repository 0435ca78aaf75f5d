import { isIPv4 } from 'node:net';
import ipaddr from 'ipaddr.js';
import { secretParameters } from '../authentication/credentials.js';
import type { TokenSource } from '../authentication/credentials.js';
import { Fingerprints } from '../data-protection/fingerprint.js';
import { KeyRing } from '../data-protection/key-ring.js';
import { normalised } from '../firewall/client-address.js';
import { PRIVACY } from './options.js';
import type { Disclosure, PrivacyOptions } from './options.js';

/** What of a line is personal. The name is part of what is hashed, so that equal values of two fields do not look equal. */
export type PersonalField = 'subject' | 'email' | 'address';

/** Shows one value the way the options say. */
export interface Privacy {
  (field: PersonalField, value: string): string;
  /** Parameters of URLs that hold credentials: their values are shown to no one. */
  readonly secretParameters: ReadonlySet<string>;
}

/** Name of the key that pseudonyms have when it is one of their own. */
const KID = 'log';
const HIDDEN = '***';

/**
 * How personal data is shown, for log and audit alike. A pseudonym is the fingerprint of the value in the domain of its
 * field, HMAC-SHA-256 as {@link Fingerprints} makes it: the same person has the same pseudonym all the time, and an
 * operator with the key can search for one.
 *
 * @param fingerprints make the pseudonyms when there is no key of their own
 * @param sources where credentials are looked for
 * @throws TypeError when a pseudonym is asked for and there is no key, or one shorter than 32 bytes
 */
export function privacyOf(
  { key, ...fields }: PrivacyOptions,
  fingerprints?: Fingerprints,
  sources: readonly TokenSource[] = [],
): Privacy {
  const disclosure: Readonly<Record<PersonalField, Disclosure>> = { ...PRIVACY.fallback, ...fields };
  const hasPseudonyms = Object.values(disclosure).includes('pseudonym');
  const keyed = hasPseudonyms && key !== undefined ? new Fingerprints(KeyRing.ofSecret(KID, key)) : fingerprints;
  if (hasPseudonyms && keyed === undefined) throw new TypeError('Pseudonyms need a key of at least 32 bytes');
  const show = (field: PersonalField, value: string): string => {
    switch (disclosure[field]) {
      case 'clear':
        return value;
      case 'masked':
        return MASKS[field](value);
      case 'pseudonym': {
        // One pseudonym for all spellings of an address.
        const same = field === 'address' ? (normalised(value) ?? value) : value;
        return (keyed as Fingerprints).of(field, same); // because without any there is no pseudonym to be asked for
      }
    }
    return disclosure[field] satisfies never;
  };
  return Object.assign(show, { secretParameters: secretParameters(sources) });
}

/** The personal members of a line of the log or of a record of the audit. */
export interface PersonalData {
  readonly subject?: string;
  readonly actor?: string;
  readonly email?: string;
  readonly clientAddress?: string;
}

/** A copy of the line with its personal members shown as the options say. An actor is a subject: they can be compared. */
export function withPrivacy<T extends PersonalData>(line: T, show: Privacy): T {
  const { subject, actor, email, clientAddress } = line;
  return {
    ...line,
    ...(subject !== undefined && { subject: show('subject', subject) }),
    ...(actor !== undefined && { actor: show('subject', actor) }),
    ...(email !== undefined && { email: show('email', email) }),
    ...(clientAddress !== undefined && { clientAddress: show('address', clientAddress) }),
  };
}

const MASKS: Readonly<Record<PersonalField, (value: string) => string>> = {
  subject: (value) => (value.includes('@') ? maskEmail(value) : firstOf(value)),
  email: maskEmail,
  address: maskAddress,
};

/** The first character and no more: how long the rest is tells too much of a short name. */
function firstOf(value: string): string {
  const [first = ''] = value; // by code points, so that no half of a pair is left over
  return `${first}${HIDDEN}`;
}

function maskEmail(value: string): string {
  const at = value.lastIndexOf('@');
  return at === -1 ? firstOf(value) : `${firstOf(value.slice(0, at))}${value.slice(at)}`;
}

function maskAddress(value: string): string {
  const address = normalised(value);
  if (address === undefined) return HIDDEN;
  return isIPv4(address)
    ? `${ipaddr.IPv4.networkAddressFromCIDR(`${address}/24`).toString()}/24`
    : `${ipaddr.IPv6.networkAddressFromCIDR(`${address}/48`).toString()}/48`;
}
