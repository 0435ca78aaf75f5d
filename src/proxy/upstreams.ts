import { Inject, Injectable } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import type { WsGatewayAdapter } from '../connection/adapter.js';
import type { RawPath } from '../connection/context.js';
import { NO_ANSWER } from '../connection/request.js';
import type { Route } from '../connection/router.js';
import type { GatewayServer } from '../connection/server.js';
import type { Access } from '../gateway/access.js';
import { gatewaysOf, locationOf } from '../gateway/bind-gateways.js';
import type { GatewayHost } from '../gateway/handlers.js';
import { AccessGuard, asksFor, demand } from '../gateway/raw-gateways.js';
import { ENVELOPE } from '../protocol/envelope.js';
import { GatewayError } from '../protocol/errors.js';
import type { InboundMessage } from '../protocol/message.js';
import { rawProtocol } from '../protocol/raw.js';
import type { WireProtocol } from '../protocol/wire-protocol.js';
import type { Session } from '../session/session.js';
import type { WsSession } from '../session/ws-session.js';
import { UPSTREAM_OPTIONS } from './options.js';
import type { ResolvedUpstream, ResolvedUpstreams } from './options.js';
import { PathUpstream } from './upstream.js';

/** The applications that the gateway stands in front of, each at its path. */
@Injectable()
export class Upstreams {
  readonly all: PathUpstream[] = [];

  constructor(
    @Inject(UPSTREAM_OPTIONS) private readonly options: ResolvedUpstreams | undefined,
    private readonly modules: ModulesContainer,
  ) {}

  /**
   * Serves their paths. Before the gateways are bound: this package's own handlers are for those where a first message brings the token.
   *
   * @throws Error for a path that a gateway of the application's has, or a key that cannot be read
   */
  serve(adapter: WsGatewayAdapter): void {
    for (const [path, options] of Object.entries(this.options ?? {})) {
      const server = adapter.create(0, { path });
      const isAt = (host: GatewayHost): boolean => {
        const { port, path: own } = locationOf(host);
        return !host.own && adapter.find(port, own) === server;
      };
      const owner = gatewaysOf(this.modules).find(isAt);
      if (owner !== undefined) {
        const { name } = owner.wrapper;
        throw new Error(
          `${placeOf(path)} is the path of ${String(name)}: an application behind the gateway has its path alone`,
        );
      }
      this.all.push(serve(server, options, path));
    }
  }

  /** Why no client of any path can be served; undefined while there is a path that can. */
  get problem(): string | undefined {
    const problems = this.all.map(({ problem }) => problem);
    return problems.length > 0 && problems.every((problem) => problem !== undefined) ? problems.join('; ') : undefined;
  }

  /** What is wrong at single paths. */
  get warning(): string | undefined {
    const problems = this.all.map(({ problem }) => problem).filter((problem) => problem !== undefined);
    return problems.length > 0 && problems.length < this.all.length ? problems.join('; ') : undefined;
  }

  sweep(now: number): void {
    for (const upstream of this.all) upstream.sweep(now);
  }

  postpone(ms: number): void {
    for (const upstream of this.all) upstream.postpone(ms);
  }

  close(): void {
    for (const upstream of this.all) upstream.close();
  }
}

/** @throws Error for a key that cannot be read */
function serve(server: GatewayServer, options: ResolvedUpstream, path: string): PathUpstream {
  const { context } = server;
  let upstream: PathUpstream;
  try {
    upstream = new PathUpstream(server, options);
  } catch (error) {
    throw new Error(`${placeOf(path)} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  const access = accessOf(options);
  const { anonymous, sources } = context.options.auth;
  const tokenComesLater = sources.includes('message') && !anonymous;
  if (asksFor(access)) server.connectionGuards.push(new AccessGuard(access, tokenComesLater));
  server.protocol = protocolOf(options, tokenComesLater);
  server.upstream = upstream;
  server.raw = {
    exceptions: options.exceptions,
    traffic: context.traffic.of('relay'),
    untilToken: tokenComesLater ? (route) => connecting(route, upstream) : undefined,
    demand: (session) => {
      if (session.link === undefined) throw new GatewayError('UNAVAILABLE'); // a slot of its subject was free after all
      demand(session, access, anonymous);
    },
  } satisfies RawPath;
  return upstream;
}

function placeOf(path: string): string {
  return `upstreams[${JSON.stringify(path)}]`;
}

function accessOf({ roles, scopes = [] }: ResolvedUpstream): Access {
  return { isPublic: false, roles: roles === undefined ? [] : [roles], scopes, rules: [], rateLimit: undefined };
}

/**
 * Nothing of ours is written but what the options allow. A client whose token comes as a message speaks the envelope until the
 * application is there.
 */
function protocolOf({ exceptions, disconnects }: ResolvedUpstream, tokenComesLater: boolean): WireProtocol<WsSession> {
  const relayed = rawProtocol({ exceptions, disconnects, subprotocols: [] });
  if (!tokenComesLater) return relayed;
  // because handshake.ts makes every session
  const of = (session: WsSession): WireProtocol<unknown> =>
    (session as Session).link === undefined ? ENVELOPE : relayed;
  return {
    ...relayed,
    takesBareToken: true,
    decode: ENVELOPE.decode.bind(ENVELOPE),
    reply: ENVELOPE.reply.bind(ENVELOPE),
    exception: (exception, request, session, options) => of(session).exception(exception, request, session, options),
    disconnect: (reason, session) => (session === undefined ? relayed : of(session)).disconnect(reason, session),
  };
}

/** Makes of \`auth\` one that is answered when the application has accepted the client; until then its messages are held. */
function connecting(route: Route, upstream: PathUpstream): Route {
  if (route.event !== 'auth') return route;
  const call = async (session: Session, message: InboundMessage): Promise<unknown> => {
    const reply = await route.call(session, message);
    try {
      await upstream.join(session);
    } catch (error) {
      session.end(error);
    }
    return session.isLive ? reply : NO_ANSWER;
  };
  const { event, isReplaceable, takesSignal, isPublic, traffic } = route;
  return { event, isReplaceable, takesSignal, isPublic, traffic, serial: true, call };
}
