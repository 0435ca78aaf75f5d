import type { IncomingMessage } from 'node:http';
import type { PeerCertificate } from 'node:tls';
import { TLSSocket } from 'node:tls';
import { GatewayError } from '../protocol/errors.js';
import { principalOf } from './principal.js';
import type { Principal } from './principal.js';
import { invalid } from './token.js';

/** Which name of a client's certificate is the subject: its common name, or its alternative name of a kind (RFC 5280 §4.2.1.6). */
export const CERTIFICATE_SUBJECTS = ['cn', 'dns', 'email', 'uri'] as const;
export type CertificateSubject = (typeof CERTIFICATE_SUBJECTS)[number];

/** Node's names for the kinds. */
const KINDS: Readonly<Record<Exclude<CertificateSubject, 'cn'>, string>> = { dns: 'DNS', email: 'email', uri: 'URI' };

/** The certificate that a client has shown in its TLS handshake, verified or not; undefined without one. */
export function certificateOf({ socket }: IncomingMessage): PeerCertificate | undefined {
  if (!(socket instanceof TLSSocket)) return undefined;
  const certificate = socket.getPeerCertificate() as PeerCertificate | null; // because it is null once the socket is gone
  return certificate !== null && Object.keys(certificate).length > 0 ? certificate : undefined;
}

/**
 * The principal that a certificate names, which TLS has verified against the server's `ca`. It has no roles and no scopes, unless
 * `auth.claims` finds them among its claims: `iat`, `exp`, `jti` (the serial number, as OpenSSL prints it) and `certificate`, the names of
 * the subject as lists (`certificate.OU`).
 *
 * @param namesOf the roles and scopes that claims have
 * @param timeOfDay in epoch milliseconds
 * @throws GatewayError TOKEN_INVALID, TOKEN_EXPIRED
 */
export function principalOfCertificate(
  request: IncomingMessage | undefined,
  kind: CertificateSubject,
  namesOf: (claims: Record<string, unknown>) => Pick<Principal, 'roles' | 'scopes'>,
  timeOfDay: number,
): Principal {
  const certificate = request && certificateOf(request);
  if (certificate === undefined) throw invalid('there is no certificate');
  const { authorized, authorizationError } = (request as IncomingMessage).socket as TLSSocket; // because certificateOf() has looked
  const expiresAt = Date.parse(certificate.valid_to);
  // TLS checked the date when the connection, or the TLS session that it resumes, began. The certificate may have expired since.
  if (timeOfDay >= expiresAt || String(authorizationError) === 'CERT_HAS_EXPIRED')
    throw new GatewayError('TOKEN_EXPIRED');
  if (!authorized) throw invalid(`the certificate is not verified: ${String(authorizationError)}`);
  const names = Object.entries(certificate.subject).map(([name, value]: [string, unknown]) => [name, listOf(value)]);
  const { issuer, serialNumber: jti } = certificate;
  const claims = {
    iat: Math.floor(Date.parse(certificate.valid_from) / 1000),
    exp: Math.floor(expiresAt / 1000),
    jti,
    certificate: Object.fromEntries(names),
  };
  const subject = subjectOf(certificate, kind);
  // Issuer and serial number, not the fingerprint: an owner can respell the signature, and the certificate stays valid.
  const digest = `certificate ${jti} ${JSON.stringify(issuer)}`;
  return principalOf({ subject, ...namesOf(claims), claims, expiresAt }, { digest, toleranceMs: 0 });
}

/** @throws GatewayError TOKEN_INVALID for several names: nothing says which one is meant */
function subjectOf({ subject, subjectaltname }: PeerCertificate, kind: CertificateSubject): string {
  const found = kind === 'cn' ? listOf(subject.CN) : alternativeNames(subjectaltname ?? '', KINDS[kind]);
  const [name] = found;
  if (found.length === 1 && name !== undefined && name !== '') return name;
  throw invalid(`the certificate has ${found.length === 0 ? 'no' : 'more than one'} name of the kind ${kind}`);
}

function listOf(value: unknown): string[] {
  return (Array.isArray(value) ? value : [value]).filter((item) => typeof item === 'string');
}

/**
 * The names of one kind in Node's text for them: `DNS:a.example, URI:spiffe://b/c`. Node writes a name with a separator, or with
 * characters that may not be printed, as a JSON string.
 *
 * @throws GatewayError TOKEN_INVALID for a text of another form
 */
function alternativeNames(text: string, kind: string): string[] {
  const entry = /([^:,"]+):("(?:[^"\\]|\\.)*"|[^,"]*)(?:, |$)/y;
  const names: string[] = [];
  while (entry.lastIndex < text.length) {
    const [, label, value = ''] = entry.exec(text) ?? [];
    if (label === undefined) throw invalid('the certificate has alternative names that cannot be read');
    if (label === kind) names.push(value.startsWith('"') ? unquoted(value) : value);
  }
  return names;
}

function unquoted(value: string): string {
  try {
    return JSON.parse(value) as string; // because it stands in quotes
  } catch {
    throw invalid('the certificate has alternative names that cannot be read');
  }
}
