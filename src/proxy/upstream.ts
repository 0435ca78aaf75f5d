import type { IncomingMessage } from 'node:http';
import { randomInt } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type { Principal } from '../authentication/principal.js';
import type { ConnectionContext, ReachedUpstream, Upstream, UpstreamApplicant } from '../connection/context.js';
import { PathPattern } from '../connection/paths.js';
import type { GatewayServer } from '../connection/server.js';
import { SUBPROTOCOL } from '../protocol/message.js';
import { GatewayError } from '../protocol/errors.js';
import type { Session } from '../session/session.js';
import { forwardedHeaders, forwardedSubprotocols, UrlTemplate } from './forwarded.js';
import { Identity } from './identity.js';
import type { ResolvedUpstream } from './options.js';
import { UpstreamTraffic } from './traffic.js';
import { UpstreamSocket } from './upstream-socket.js';
import type { HandshakeListener, UpstreamHost } from './upstream-socket.js';

/** Milliseconds that the application has to finish a closing handshake before its connection is cut. */
const CLOSE_TIMEOUT_MS = 5_000;

/** As the gateway's own servers have it: pieces in which one frame may arrive. */
const MAX_BUFFERED_CHUNKS = 16_512;

/** Clients come back spread over this time, in milliseconds: an application that starts must not meet all of them at once. */
const RETRY_MS = [500, 5_000] as const;

/** One URL of an application, and until when it rests. */
class Target {
  readonly template: UrlTemplate;
  /** Headers that no client may write. */
  readonly own: ReadonlySet<string>;
  restsUntil = -Infinity;
  /** Later than now while it rests since no answer came. An answer, whatever its status, may be the doing of one client's request. */
  downUntil = -Infinity;

  constructor(url: string, names: readonly string[], own: ReadonlySet<string>) {
    this.template = new UrlTemplate(url, names);
    this.own = this.template.hasUser ? new Set([...own, 'authorization']) : own;
  }
}

/** A client, and the subprotocols that the application may select. */
interface Offering extends UpstreamApplicant {
  readonly subprotocols: readonly string[];
}

/** The application behind one path: its connections, and whether it can be reached. */
export class PathUpstream implements Upstream, UpstreamHost {
  readonly traffic = new UpstreamTraffic();
  readonly #targets: readonly Target[];
  readonly #identity: Identity;
  readonly #attempts = new Set<Attempt>();
  readonly #sockets = new Set<UpstreamSocket>();
  readonly #selected = new WeakMap<IncomingMessage, string>();

  /** @throws Error for a key that cannot be read */
  constructor(
    private readonly server: GatewayServer,
    readonly options: ResolvedUpstream,
  ) {
    const { clock } = server.context;
    const { names } = new PathPattern(server.pathname);
    this.#identity = new Identity(options.identity, () => clock.now());
    this.#targets = options.urls.map((url) => new Target(url, names, this.#identity.names));
  }

  get pathname(): string {
    return this.server.pathname;
  }

  get isJson(): boolean {
    return this.options.json;
  }

  get exceptions(): boolean {
    return this.options.exceptions;
  }

  get heartbeat(): ConnectionContext['options']['heartbeat'] {
    return this.server.context.options.heartbeat;
  }

  now(): number {
    return this.server.context.clock.monotonic();
  }

  /** Why no client can be served now; undefined while one URL at least was not seen to fail. */
  get problem(): string | undefined {
    const now = this.now();
    return this.#targets.every(({ downUntil }) => downUntil > now)
      ? `the application behind ${this.pathname} cannot be reached`
      : undefined;
  }

  /** Connections that wait for the application's answer. */
  get waiting(): number {
    return this.#attempts.size;
  }

  reach(applicant: UpstreamApplicant): Promise<ReachedUpstream> | undefined {
    const { auth } = this.server.context.options;
    const { principal } = applicant;
    if (principal !== undefined) return this.#hasSlot(principal) ? this.connect(applicant) : undefined;
    return !auth.anonymous && auth.sources.includes('message') ? undefined : this.connect(applicant);
  }

  /** False where the session of this principal ends as it begins, with SESSION_LIMIT: the application need not hear of it. */
  #hasSlot({ subject }: Principal): boolean {
    const { options, sessions } = this.server.context;
    const { onSessionLimit, maxSessionsPerSubject } = options.auth;
    return onSessionLimit !== 'refuse-new' || sessions.count({ subject }) < maxSessionsPerSubject;
  }

  /**
   * Connects a session that has authenticated by a message. Its own subprotocol is decided, so the application is offered none.
   *
   * @throws GatewayError, as a rejection, as {@link reach} does; nothing where the session has ended meanwhile
   */
  async join(session: Session): Promise<void> {
    const { request, params, client, principal, id: sessionId } = session;
    if (request === undefined || !session.isLive) return;
    if (this.server.connectionGuards.length === 0) session.request = undefined; // a few kilobytes
    const applicant = { request, socket: request.socket, params, client, principal, sessionId };
    const reached = await this.connect(applicant, []);
    if (session.isLive) reached.attach(session);
    else reached.abandon();
  }

  /** Connects a client to the first URL that accepts it. */
  connect(
    applicant: UpstreamApplicant,
    subprotocols = forwardedSubprotocols(applicant.request),
  ): Promise<ReachedUpstream> {
    return new Promise((resolve, reject) => {
      const attempt = new Attempt(this, { ...applicant, subprotocols }, this.#inOrder(), (outcome) => {
        this.#attempts.delete(attempt);
        if (outcome instanceof UpstreamSocket) resolve(this.#reached(outcome, applicant.request));
        else reject(outcome);
      });
      this.#attempts.add(attempt);
      attempt.next();
    });
  }

  #reached(socket: UpstreamSocket, request: IncomingMessage): ReachedUpstream {
    const { selected } = socket;
    if (selected !== undefined) this.#selected.set(request, selected);
    this.#sockets.add(socket);
    return {
      attach: (session: Session) => socket.attach(session),
      abandon: () => socket.abandon(),
    };
  }

  /** Those that rest come last, the one that has rested longest first. */
  #inOrder(): Target[] {
    const now = this.now();
    const isUp = ({ restsUntil }: Target): boolean => restsUntil <= now;
    const resting = this.#targets.filter((target) => !isUp(target)).toSorted((a, b) => a.restsUntil - b.restsUntil);
    return [...this.#targets.filter(isUp), ...resting];
  }

  /** A client that offers this gateway's subprotocol beside its token would fail a connection that selects none. */
  selected(request: IncomingMessage, offered: ReadonlySet<string>): string | undefined {
    return this.#selected.get(request) ?? (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : undefined);
  }

  /** @throws Error where what the client has sent makes no request */
  open(target: Target, applicant: Offering, listener: HandshakeListener): UpstreamSocket {
    const { request, socket, client, principal, sessionId, params, trace, subprotocols } = applicant;
    const { keepCredentials, maxMessageBytes, ca } = this.options;
    const { auth } = this.server.context.options;
    const limits = this.server.messageLimits;
    const introduced = { request, socket, address: client.address, principal, sessionId };
    const headers = {
      ...forwardedHeaders(request, target.own, auth, keepCredentials),
      ...this.#identity.headersOf(introduced),
      ...trace?.headers(),
      ...(subprotocols.length > 0 && { 'Sec-WebSocket-Protocol': subprotocols.join(', ') }),
    };
    const url = target.template.urlOf(request, params, auth, keepCredentials);
    const options = {
      headers: headers as Record<string, string>, // because Node takes a list where a header came more than once
      perMessageDeflate: false,
      autoPong: false, // see Pongs
      maxPayload: maxMessageBytes ?? limits.maxMessageBytes,
      maxFragments: limits.maxFragments,
      maxBufferedChunks: MAX_BUFFERED_CHUNKS,
      closeTimeout: CLOSE_TIMEOUT_MS,
      ...(ca !== undefined && { ca }),
    };
    return new UpstreamSocket(url, options, this, target.template.label, listener);
  }

  closed(socket: UpstreamSocket): void {
    this.#sockets.delete(socket);
  }

  sweep(now: number): void {
    for (const attempt of this.#attempts) attempt.sweep(now);
    for (const socket of this.#sockets) socket.sweep(now);
  }

  postpone(ms: number): void {
    for (const attempt of this.#attempts) attempt.giveUpAt += ms;
    for (const socket of this.#sockets) socket.postpone(ms);
  }

  /** The gateway ends: no connection is left. */
  close(): void {
    for (const attempt of this.#attempts) attempt.abort(new GatewayError('SHUTTING_DOWN'));
    for (const socket of this.#sockets) socket.abandon();
  }
}

/** One client's way to the application, URL after URL. It owns the socket until there is an outcome, which there is once. */
class Attempt implements HandshakeListener {
  giveUpAt = Infinity;
  readonly #begun: number;
  readonly #causes: string[] = [];
  #current: { readonly target: Target; readonly socket: UpstreamSocket } | undefined;
  #isOver = false;
  #wasRefused = false;

  constructor(
    private readonly upstream: PathUpstream,
    private readonly applicant: Offering,
    private readonly targets: Target[],
    private readonly settle: (outcome: UpstreamSocket | GatewayError) => void,
  ) {
    this.#begun = upstream.now();
    const { socket } = applicant;
    socket.once('close', this.#onGone);
    socket.once('end', this.#onGone);
  }

  next(): void {
    if (this.applicant.socket.destroyed) return this.#onGone(); // while its token was looked at
    const target = this.targets.shift();
    if (target === undefined) return this.#fail();
    this.giveUpAt = this.upstream.now() + this.upstream.options.connectTimeoutMs;
    try {
      this.#current = { target, socket: this.upstream.open(target, this.applicant, this) };
    } catch (error) {
      this.#finish(new GatewayError('BAD_UPGRADE', { cause: error }));
    }
  }

  accepted(socket: UpstreamSocket): void {
    const target = this.#current?.target;
    if (target !== undefined) target.restsUntil = target.downUntil = -Infinity;
    if (socket.selected !== undefined && !this.applicant.subprotocols.includes(socket.selected)) {
      socket.abandon();
      this.#wasRefused = true;
      this.#causes.push(`${socket.label} selects a subprotocol that the client does not offer`);
      return this.#fail();
    }
    this.upstream.traffic.connected(this.upstream.now() - this.#begun);
    this.#finish(socket);
  }

  refused({ label }: UpstreamSocket, status: number | undefined, why: string): void {
    this.#causes.push(status === undefined ? `${label} ${why}` : `${label} answers ${status}`);
    // Its refusal is the application's word; that it is not there, or can do nothing now, another URL may do better.
    this.#wasRefused = status !== undefined;
    if (status !== undefined && status < 500) return this.#fail();
    this.#rest(status !== undefined);
    this.next();
  }

  sweep(now: number): void {
    if (now < this.giveUpAt || this.#current === undefined) return;
    const { socket } = this.#current;
    this.#wasRefused = false;
    this.#causes.push(`${socket.label} did not answer within ${this.upstream.options.connectTimeoutMs} ms`);
    this.#rest(false);
    socket.abandon();
    this.next();
  }

  #rest(hasAnswered: boolean): void {
    const target = this.#current?.target;
    if (target === undefined) return;
    target.restsUntil = this.upstream.now() + this.upstream.options.restMs;
    target.downUntil = hasAnswered ? -Infinity : target.restsUntil;
  }

  readonly #onGone = (): void => {
    this.applicant.socket.destroy(); // it may have closed its half alone
    this.abort(new GatewayError('CONNECTION_LOST', { cause: 'while the application behind the path was asked' }));
  };

  abort(error: GatewayError): void {
    if (this.#isOver) return;
    this.#current?.socket.abandon();
    this.#finish(error);
  }

  #fail(): void {
    const cause = this.#causes.join('; ');
    this.upstream.traffic.failed(this.#wasRefused ? 'refused' : 'unreachable');
    if (this.#wasRefused) return this.#finish(new GatewayError('BAD_GATEWAY', { cause }));
    this.#finish(new GatewayError('UNAVAILABLE', { retryAfterMs: randomInt(...RETRY_MS), cause }));
  }

  #finish(outcome: UpstreamSocket | GatewayError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const { socket }: { socket: Duplex } = this.applicant;
    socket.off('close', this.#onGone);
    socket.off('end', this.#onGone);
    this.settle(outcome);
  }
}
