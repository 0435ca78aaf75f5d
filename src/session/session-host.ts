import type { Principal } from '../authentication/principal.js';
import type { WsClock } from '../base/clock.js';
import type { Emitter } from '../base/emitter.js';
import type { Firewall } from '../firewall/firewall.js';
import type { WireProtocol } from '../protocol/wire-protocol.js';
import type { GatewaySocket } from '../socket/gateway-socket.js';
import type { SessionEvent } from './events.js';
import type { ByteBudget } from './byte-budget.js';
import type { SessionOptions } from './options.js';
import type { JoinOptions, WsSession } from './ws-session.js';

/** Token of {@link SessionRooms}. */
export const SESSION_ROOMS = Symbol('nestjs-ws-gateway.session-rooms');

/** The rooms, as a session knows them. */
export interface SessionRooms<S> {
  join(session: S, room: string, options?: JoinOptions): boolean;
  leave(session: S, room: string): boolean;
  of(session: S): readonly string[];
}

/** The other end of a session whose messages go on to another application. */
export interface SessionLink {
  /** True while the peer has yet to read what that application has sent. */
  readonly isHeldUp: boolean;
  /** Bytes that wait for the application, and those of its messages that wait for the peer. */
  readonly outbound: number;
  /** Bytes received of an unfinished message of the application's. */
  readonly receiving: number;
  /** Cuts the connection, and frees what waits for it. */
  terminate(): void;
  /** The session is open: what the application says is for the peer. */
  start(): void;
  /** A message of the peer's. */
  forward(bytes: Buffer, isBinary: boolean): void;
  /** The session ends, or its peer has closed: by this code, 1005 for none and 1006 without a close frame. Later calls have no effect. */
  sessionEnded(closeCode: number, reason: string): void;
}

/** What all sessions share. @typeParam S the session */
export interface SessionContext<S> {
  readonly options: SessionOptions;
  readonly clock: WsClock;
  readonly monitor: Emitter<SessionEvent>;
  readonly firewall: Firewall;
  readonly byteBudget: ByteBudget;
  readonly rooms: SessionRooms<S>;
  readonly traffic: { sentMessages: number; sentBytes: number };
  readonly sessions: {
    isRevoked(principal: Principal | undefined): boolean;
    watchOpening(session: S): void;
  };
}

/** The server of a session's path. @typeParam S the session */
export interface SessionHost<S> {
  readonly pathname: string;
  readonly context: SessionContext<S>;
  /** The language of the path. */
  readonly protocol: WireProtocol<WsSession>;
  /** A message has come as a whole. */
  onMessage(session: S, data: Buffer, isBinary: boolean): void;
  /** A ping or a pong has come. */
  onControl(session: S, data: Buffer): void;
  onClosed(session: S, closeCode: number, reason: string): void;
  /** Handles a message that the session has held. */
  handle(session: S, bytes: Buffer, isBinary: boolean): void;
  /** The socket may be written to from now on. */
  admitToBroadcasts(socket: GatewaySocket): void;
}
