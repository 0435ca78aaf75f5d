import type { WsSession } from '../session/ws-session.js';
import type { ChannelAct } from './channel-rules.js';

/**
 * Decides by code which session may do what in a channel. A provider of this class is asked after `channels.rules`, and can only
 * narrow what they allow.
 */
export abstract class ChannelAuthorizer {
  /**
   * @returns true, at once or as a promise; anything else refuses with FORBIDDEN
   * @throws GatewayError what the client is told instead
   */
  abstract authorize(session: WsSession, channel: string, act: ChannelAct): boolean | Promise<boolean>;
}
