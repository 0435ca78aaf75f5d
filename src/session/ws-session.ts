import type { WebSocket } from 'ws';
import type { Principal } from '../authentication/principal.js';
import type { PathParams } from '../base/path-params.js';
import type { ErrorCode } from '../protocol/errors.js';
import { SESSION } from '../socket/gateway-socket.js';
import type { GatewaySocket } from '../socket/gateway-socket.js';

/** Where a session is in its life. Frames that arrive while it is `opening` are held. */
export type SessionPhase =
  | { readonly phase: 'opening' }
  | { readonly phase: 'open' }
  | { readonly phase: 'closing' }
  | { readonly phase: 'closed'; readonly byPeer: boolean };

export interface JoinOptions {
  /**
   * What the application says of the member: a JSON object of at most 1,024 bytes, for `WsRooms.members()`, and for `count()` by
   * one of its members. A second `join()` replaces it.
   */
  as?: Readonly<Record<string, unknown>>;
}

/**
 * One peer: from the upgrade to the close.
 *
 * @typeParam State what the application keeps in {@link state}
 */
export abstract class WsSession<State extends object = object> {
  abstract readonly id: string;
  /** When the upgrade was accepted, in epoch milliseconds. */
  abstract readonly connectedAt: number;
  /** Address of the peer, through the proxies that `firewall.trustProxy` names. */
  abstract readonly clientAddress: string;
  /** The parameters of the gateway's path: `/ocpp/:station` has `station`. */
  abstract readonly params: PathParams;
  /** The native socket, as `@ConnectedSocket()` gives it. */
  abstract readonly socket: WebSocket;
  /** What the application keeps with the session: an empty object at first, so its members are best optional. */
  abstract readonly state: State;
  /** Who authenticated; undefined while the session is anonymous. */
  abstract readonly principal: Principal | undefined;
  abstract readonly phase: SessionPhase['phase'];
  /** True until a close has begun: what is sent now goes out. */
  abstract readonly isLive: boolean;

  /**
   * The session of a socket that this package accepted.
   *
   * @throws TypeError for any other socket
   */
  static of<State extends object = object>(socket: object): WsSession<State> {
    const session = (socket as Partial<GatewaySocket>)[SESSION];
    if (session === undefined) throw new TypeError('This socket was not accepted by WsGatewayModule');
    // because sockets have no other owners, and only the application knows the state
    return session as unknown as WsSession<State>;
  }

  /**
   * Pushes an event to the peer, as the protocol of the path writes it.
   *
   * @returns false when nothing was sent: the session has ended, or the protocol writes no pushes
   * @throws TypeError when `data` cannot be serialised
   */
  abstract send(event: string, data: unknown): boolean;

  /**
   * Pushes a binary message to the peer. The bytes are read when it is written, so they are not to change.
   *
   * @returns false when the session has ended and nothing was sent
   * @throws TypeError for what is no Buffer or Uint8Array
   */
  abstract sendBinary(data: Uint8Array): boolean;

  /**
   * Ends the session: a `disconnect` frame, then the close.
   *
   * @param code a code of the catalogue, an application's own (closes with 4400), or a close code as RFC 6455 §7.4 has them.
   * @default 1000
   * @throws TypeError when it is none of these
   */
  abstract close(code?: ErrorCode | number): void;

  /**
   * Makes it a member of a room, at once and until it leaves or ends.
   *
   * @returns true when it gets the messages of the room from now on; false for a session that has ended
   * @throws TypeError for a name, or an `as`, that cannot be; GatewayError SUBSCRIPTION_LIMIT
   */
  abstract join(room: string, options?: JoinOptions): boolean;

  /** @returns false when it was no member */
  abstract leave(room: string): boolean;

  /** The rooms that it is in. */
  abstract readonly rooms: readonly string[];
}
