import { domainToASCII } from 'node:url';
import { isEmail } from 'class-validator';

/** Longest address that SMTP can carry: the path of RFC 5321 §4.5.3.1.3 without its angle brackets. */
export const MAX_ADDRESS_OCTETS = 254;

/** More UTF-16 units than any address has whose NFC form keeps to the maximum; what is longer is not looked at. */
const MAX_UNITS = 4 * MAX_ADDRESS_OCTETS;

const ASCII = /^[\0-\x7f]*$/;
/**
 * `isEmail` lets line breaks and control characters stand in a quoted local part, where RFC 5321 §4.1.2 has none and a
 * mailer may take them for the end of a header; half a surrogate pair makes it throw.
 */
const UNSAFE = /[\p{Cc}\p{Zl}\p{Zp}\p{Surrogate}]/u;

/**
 * The address as it is to be kept, or undefined when it is refused. White space around it is dropped, it is brought into
 * Unicode NFC, and its domain into lower case and ASCII (punycode, as UTS #46 and {@link domainToASCII} have it). Nothing
 * else is done to the local part, which may be case-sensitive (RFC 5321 §2.4).
 *
 * The verdict is that of `isEmail` of the package `validator` with its defaults, on the address before and after its
 * domain is mapped: `ada@example.org`, `"ada l"@example.org`, `ädä@bücher.example`; not `ada@localhost`, `ada@[192.0.2.1]`,
 * `Ada <ada@example.org>`, nor a local part of more than 64 octets. Beyond that, control characters and line separators
 * are refused, also in quotes, and addresses of more than 254 octets.
 */
export function normaliseEmail(text: string): string | undefined {
  const address = normalForm(text);
  return address !== undefined && fitsSmtp(address) ? address : undefined;
}

/** {@link normaliseEmail} without its maximum, which is a rule of its own with words of its own. */
export function normalForm(text: string): string | undefined {
  const trimmed = text.trim();
  if (trimmed.length > MAX_UNITS || UNSAFE.test(trimmed)) return undefined;
  if (ASCII.test(trimmed)) return isEmail(trimmed) ? withLowerDomain(trimmed) : undefined;
  const composed = trimmed.normalize('NFC');
  // Asked before the mapping too, which would make `example` of full-width letters and a host address of `1.2.3.¹¹`.
  if (!isEmail(composed)) return undefined;
  const mapped = withDomain(composed, asciiDomain(domainOf(composed)));
  return isEmail(mapped) ? mapped : undefined;
}

/**
 * What a DTO is to hold before its rules are asked: the normal form where there is one. An address in ASCII that is refused
 * may come back changed, which spares all others a second verdict: case does not alter it.
 */
export function tidy(text: string): string {
  const trimmed = text.trim();
  return ASCII.test(trimmed) ? withLowerDomain(trimmed) : (normalForm(trimmed) ?? trimmed);
}

export function fitsSmtp(address: string): boolean {
  // No UTF-16 unit is more than three octets.
  return address.length * 3 <= MAX_ADDRESS_OCTETS || Buffer.byteLength(address) <= MAX_ADDRESS_OCTETS;
}

/** What stands after the last `@`: a quoted local part may hold others. */
export function domainOf(address: string): string {
  return address.slice(address.lastIndexOf('@') + 1);
}

/** A domain in lower case and ASCII; the empty string when there is no such form of it. */
export function asciiDomain(domain: string): string {
  return ASCII.test(domain) ? domain.toLowerCase() : domainToASCII(domain);
}

function withLowerDomain(address: string): string {
  return withDomain(address, domainOf(address).toLowerCase());
}

function withDomain(address: string, domain: string): string {
  return address.slice(0, address.lastIndexOf('@') + 1) + domain;
}
