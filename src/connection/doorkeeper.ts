import type { IncomingMessage, ServerResponse } from 'node:http';
import { Inject, Injectable } from '@nestjs/common';
import { Authentication } from '../authentication/authentication.js';
import { refusedDigestOf } from '../authentication/refused-token.js';
import { EMITTER } from '../base/emitter.js';
import type { Emitter } from '../base/emitter.js';
import { bearerOf } from '../authentication/credentials.js';
import type { Principal } from '../authentication/principal.js';
import { Firewall } from '../firewall/firewall.js';
import type { Client } from '../firewall/client.js';
import { GatewayError } from '../protocol/errors.js';
import type { SessionEvent } from '../session/events.js';
import { isGatewayError } from '../session/failure.js';
import { Deadlines } from '../authentication/deadlines.js';
import { FACTS } from '../engine/facts.js';
import type { Facts } from '../engine/facts.js';
import { barrier } from './barrier.js';
import { refuseRequest } from './refusal.js';

/** A request as a framework hands it over: Node's own, as Express has it, or one around it, as Fastify has it. */
export type HttpRequest = IncomingMessage | { readonly raw: IncomingMessage };

/** The client of a request, and whether it has been admitted. */
interface Visitor {
  readonly client: Client;
  isAdmitted: boolean;
  subject?: string;
}

/** How a refused request is answered and logged. */
interface RefusedRequest {
  /** The HTTP status, where it is not the catalogue's. */
  readonly status?: number;
  /** Method and path as they are declared, never what a client wrote. */
  readonly route?: string | undefined;
}

/**
 * Guards plain HTTP by the lists, bans and budgets of upgrades: a client that may not connect at `/ws` may not ask over HTTP either,
 * and a forged token counts the same. Each refusal has one line in the log and one record in the audit.
 */
@Injectable()
export class Doorkeeper {
  readonly #visitors = new WeakMap<IncomingMessage, Visitor>();

  constructor(
    private readonly firewall: Firewall,
    private readonly authentication: Authentication,
    @Inject(EMITTER) private readonly monitor: Emitter<SessionEvent>,
    @Inject(FACTS) private readonly facts: Facts,
    private readonly deadlines: Deadlines,
  ) {}

  /**
   * Middleware that runs before all others of a server, body parsers included: routes that are added later are guarded as well.
   *
   * @param probes paths that an orchestrator or a load balancer asks. They are open to every address, whatever lists and bans say,
   * and have a budget of their own
   */
  middleware(
    probes: readonly string[] = [],
  ): (request: IncomingMessage, response: ServerResponse, next: () => void) => void {
    const paths = new Set(probes);
    return (request, response, next) => {
      try {
        if (isProbe(request, paths)) {
          this.firewall.admission.checkHost(request, true);
          this.firewall.connections.checkProbes(this.#visitorOf(request).client);
        } else this.admit(request);
      } catch (error) {
        request.resume();
        return this.refuse(request, response, error);
      }
      next();
    };
  }

  /**
   * Admits a request or throws. The request is charged once, however often this is called.
   *
   * @returns the client, as the trusted proxies name it
   * @throws GatewayError BAD_UPGRADE, ORIGIN_FORBIDDEN, IP_FORBIDDEN, BANNED, TOO_MANY_CONNECTIONS
   */
  admit(request: HttpRequest): Client {
    const visitor = this.#visitorOf(rawOf(request));
    const { client } = visitor;
    if (visitor.isAdmitted) return client;
    this.firewall.admission.checkHost(rawOf(request));
    this.firewall.admission.checkLists(client);
    this.firewall.connections.checkHandshakes(client);
    visitor.isAdmitted = true;
    return client;
  }

  /**
   * The principal of the request's bearer token. Cookies do not count: a browser adds them by itself, so that any page could act for
   * their owner.
   *
   * @throws GatewayError what {@link admit} throws; UNAUTHENTICATED, TOKEN_INVALID, TOKEN_EXPIRED, SESSION_REVOKED, BANNED;
   * OVERLOADED when the token cannot be verified now, UNAVAILABLE when it cannot be known whether it is revoked
   */
  async authenticate(request: HttpRequest): Promise<Principal> {
    const client = this.admit(request);
    const raw = rawOf(request);
    const token = bearerOf(raw.headers.authorization);
    if (token === undefined) throw new GatewayError('UNAUTHENTICATED');
    await barrier({ facts: this.facts, deadlines: this.deadlines });
    this.firewall.admission.checkLists(client, false); // another node may have banned it
    let principal: Principal;
    try {
      principal = await this.authentication.authenticate(token, { source: 'header', request: raw }, client.address);
    } catch (error) {
      if (isGatewayError(error) && error.code === 'TOKEN_INVALID')
        this.firewall.violations.failedAuthentication(client, refusedDigestOf(error));
      throw error;
    }
    this.#visitorOf(raw).subject = principal.subject;
    this.firewall.admission.checkSubject(client, principal.subject);
    return principal;
  }

  /** The address that a request came from, refused or not. */
  addressOf(request: HttpRequest): string {
    const raw = rawOf(request);
    return this.#visitors.get(raw)?.client.address ?? this.firewall.admission.addressOf(raw);
  }

  /** Answers a request that was refused or has failed, with `{"code","message"}`, and logs it once. */
  refuse(
    request: HttpRequest,
    response: ServerResponse,
    thrown: unknown,
    { status, route }: RefusedRequest = {},
  ): void {
    const subject = this.#visitors.get(rawOf(request))?.subject;
    refuseRequest(response, thrown, this.monitor, this.addressOf(request), {
      kind: 'http',
      ...(status !== undefined && { status }),
      ...(route !== undefined && { route }),
      ...(subject !== undefined && { subject }),
    });
  }

  /** @throws GatewayError BAD_UPGRADE when headers of proxies disagree */
  #visitorOf(raw: IncomingMessage): Visitor {
    const known = this.#visitors.get(raw);
    if (known !== undefined) return known;
    const visitor = { client: this.firewall.admission.clientOf(raw, raw.socket), isAdmitted: false };
    this.#visitors.set(raw, visitor);
    return visitor;
  }
}

function rawOf(request: HttpRequest): IncomingMessage {
  return 'raw' in request ? request.raw : request;
}

/** True for the exact path alone: a router may take another spelling for another route. */
function isProbe({ url = '' }: IncomingMessage, paths: ReadonlySet<string>): boolean {
  const query = url.indexOf('?');
  return paths.has(query === -1 ? url : url.slice(0, query));
}
