import type { Ban, BanTarget } from './bans.js';
import type { AddressLists, BanOptions } from './decisions.js';

/**
 * Bans and lists of addresses, of all nodes. Injectable anywhere in the application. What is decided is in force on this node when a
 * method returns, and on all when its promise resolves; it rejects with UNAVAILABLE when they cannot be told now, and they are later.
 */
export abstract class WsFirewall {
  /** The lists in force. */
  abstract readonly lists: AddressLists;

  /**
   * Bans an address (IPv6: its /64) or a subject. Its sessions end with BANNED, and its handshakes are refused.
   *
   * @throws as rejections: TypeError for a target that is neither, or a time that cannot be; GatewayError CONFLICT when there are
   * 10,000 bans of operators in force, since none of them is ever dropped to make room
   */
  abstract ban(target: BanTarget, options: BanOptions): Promise<Ban>;

  /**
   * Lifts a ban, and forgets that there was one.
   *
   * @param options `actor`: who lifts it, for the audit
   * @returns false when there was none
   * @throws TypeError, as a rejection, for a target that is neither an address nor a subject
   */
  abstract unban(target: BanTarget, options?: { actor?: string }): Promise<boolean>;

  /** The bans in force, the oldest first. */
  abstract bans(): Ban[];

  /**
   * Changes lists from now on; one that is left out stays. On nodes that are configured with another list than this one, theirs holds. Connected sessions stay: `ban()` ends them.
   *
   * @throws TypeError, as a rejection, naming what is no address and no CIDR range; nothing has been changed then
   */
  abstract setLists(lists: Partial<AddressLists>): Promise<void>;
}
