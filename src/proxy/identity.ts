import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { JwtService } from '@nestjs/jwt';
import type { Principal } from '../authentication/principal.js';
import { addressOf } from '../firewall/client-address.js';
import { known } from './forwarded.js';
import type { ResolvedIdentity, ResolvedIdentityToken } from './options.js';

/** Who a client is, as the application behind the gateway is told. */
export interface Introduced {
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly address: string;
  readonly principal: Principal | undefined;
  readonly sessionId: string;
}

const DEFAULT_TTL_SECONDS = 60;

/** What cannot be in a list of the header, and what no header holds (RFC 9110 §5.5). Percent signs, since they encode the others. */
const UNSAFE = /[^\x21-\x24\x26-\x2b\x2d-\x7e]+/gu;

/** A value that neither ends its header nor its item of a list: as encodeURIComponent() writes what could. */
export function encoded(value: string): string {
  const text = Buffer.from(value).toString(); // half of a surrogate pair cannot be encoded
  return text.replace(UNSAFE, (part) => encodeURIComponent(part));
}

const DEFAULT_NAMES = {
  subject: 'X-Auth-Subject',
  roles: 'X-Auth-Roles',
  scopes: 'X-Auth-Scopes',
  session: 'X-Auth-Session',
} as const;

/** Writes the headers that say who the client is. A client's own headers of these names never go on. */
export class Identity {
  readonly #names: {
    readonly subject: string;
    readonly roles: string;
    readonly scopes: string;
    readonly session: string;
  };
  readonly #token: IdentityToken | undefined;
  /** The names, as {@link known} has them. Those of a token are among them, so that a client can write neither. */
  readonly names: ReadonlySet<string>;

  /** @throws Error for a key that cannot be read */
  constructor(
    { headers, jwt }: ResolvedIdentity,
    private readonly now: () => number,
  ) {
    const { subject, roles, scopes, session } = headers ?? {};
    this.#names = {
      subject: subject ?? DEFAULT_NAMES.subject,
      roles: roles ?? DEFAULT_NAMES.roles,
      scopes: scopes ?? DEFAULT_NAMES.scopes,
      session: session ?? DEFAULT_NAMES.session,
    };
    this.#token = jwt && new IdentityToken(jwt);
    // The default ones too where others are written: an application may read both.
    const written = [...Object.values(this.#names), ...(this.#token === undefined ? [] : [this.#token.header])];
    const all = [...Object.values(DEFAULT_NAMES), ...written];
    this.names = new Set(all.map(known));
  }

  headersOf(client: Introduced): Record<string, string> {
    return { ...forwardingOf(client), ...this.#credentialsOf(client) };
  }

  #credentialsOf({ principal, sessionId }: Introduced): Record<string, string> {
    if (this.#token !== undefined)
      return principal === undefined ? {} : this.#token.headersOf(principal, sessionId, this.now());
    const { subject, roles, scopes, session } = this.#names;
    if (principal === undefined) return { [session]: sessionId };
    return {
      [subject]: encoded(principal.subject),
      [roles]: principal.roles.map(encoded).join(','),
      [scopes]: principal.scopes.map(encoded).join(','),
      [session]: sessionId,
    };
  }
}

function forwardingOf({ request, socket, address }: Introduced): Record<string, string> {
  const { host, 'x-forwarded-proto': told } = request.headers;
  const isOverProxy = address !== addressOf(socket); // a trusted one: no other is believed
  const isSecure =
    isOverProxy && typeof told === 'string' ? /^(?:https|wss)$/i.test(told.trim()) : 'encrypted' in socket;
  return {
    'X-Forwarded-For': address,
    'X-Forwarded-Proto': isSecure ? 'https' : 'http',
    ...(host !== undefined && { 'X-Forwarded-Host': host }),
  };
}

/** Signs a short-lived token for each connection. */
class IdentityToken {
  readonly #jwt: JwtService;
  readonly header: string;

  constructor(private readonly options: ResolvedIdentityToken) {
    const { secret, privateKey, algorithm, issuer, audience, header = 'Authorization' } = options;
    this.header = header;
    this.#jwt = new JwtService({
      ...(secret === undefined ? { privateKey: privateKey as string } : { secret }), // because it has one of the two
      signOptions: { algorithm, ...(issuer !== undefined && { issuer }), ...(audience !== undefined && { audience }) },
    });
    this.#jwt.sign({ sub: 'a', exp: 1 }); // so that a bad key stops the start
  }

  headersOf({ subject, roles, scopes, expiresAt }: Principal, sessionId: string, now: number): Record<string, string> {
    const { ttlSec = DEFAULT_TTL_SECONDS } = this.options;
    const iat = Math.floor(now / 1_000);
    const exp = Math.min(iat + ttlSec, Math.max(iat + 1, Math.floor(expiresAt / 1_000)));
    const token = this.#jwt.sign({ sub: subject, roles, scope: scopes.join(' '), sid: sessionId, iat, exp });
    return { [this.header]: this.header.toLowerCase() === 'authorization' ? `Bearer ${token}` : token };
  }
}
