import type { RevocationFilter, Revoked } from './revoke.js';
import type { WsSession } from './ws-session.js';

/**
 * Selects sessions: several members narrow the choice, and none selects all. A member that is present and undefined selects
 * nothing: `{ subject: user?.id }` without a user is not everybody.
 */
export interface SessionFilter {
  readonly sessionId?: string;
  readonly subject?: string;
  readonly clientAddress?: string;
}

/** Which sessions are listed, and from where on. */
export interface SessionQuery extends SessionFilter {
  /** Most items of a page, 1 to 1_000. @default 100 */
  readonly limit?: number;
  /** `next` of the page before. */
  readonly cursor?: string;
}

/** Some of the sessions, oldest first. */
export interface SessionPage {
  readonly items: WsSession[];
  /** There are more: the `cursor` of the next page. */
  readonly next?: string;
}

/** The registry: every session of the module, on all paths and ports. Injectable anywhere in the application. */
export abstract class WsSessions {
  /**
   * The sessions that match and have not ended, oldest first.
   *
   * @throws TypeError for a filter with an unknown member
   */
  abstract find(filter?: SessionFilter): WsSession[];

  /**
   * How many match and have not ended.
   *
   * @throws TypeError for a filter with an unknown member
   */
  abstract count(filter?: SessionFilter): number;

  /**
   * The sessions that match and have not ended, page by page. One that comes or goes meanwhile moves no other to another page.
   *
   * @throws TypeError for a limit or a cursor that cannot be, and for an unknown member
   */
  abstract list(query?: SessionQuery): SessionPage;

  /**
   * Ends sessions at once, with SESSION_REVOKED, and refuses their tokens until these expire. The sessions of this node have ended
   * when this returns, before the promise resolves; when it resolves, every node refuses the tokens. Without `cluster.redis` the list
   * is this process's own and does not outlive it.
   *
   * @throws as a rejection: TypeError for a filter that names nothing or too much; GatewayError OVERLOADED when the list of
   * revocations is full: the sessions have ended then, and their tokens stay good; UNAVAILABLE when the other nodes cannot be told now:
   * they are told when they can be
   */
  abstract revoke(filter: RevocationFilter): Promise<Revoked>;

  /**
   * Pushes an event to every session that matches and may be written to: it is encoded once, and the same bytes go to all.
   *
   * @returns how many it was sent to
   * @throws TypeError when `data` cannot be serialised, and for a filter with an unknown member; nothing has been sent then
   */
  abstract broadcast(event: string, data: unknown, filter?: SessionFilter): number;
}
