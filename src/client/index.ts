/** A client for browsers, React Native and Node. It has no dependency and touches nothing of its platform when imported. */
export type {
  Channel,
  ChannelEvents,
  ChannelMember,
  ChannelMessage,
  ChannelOptions,
  Gap,
  Position,
  Presence,
  PresenceCount,
} from './channel.js';
export { createClient } from './create-client.js';
export type { GatewayClient } from './create-client.js';
export { ConnectionError, GatewayException, isConnectionError, isException } from './errors.js';
export type { ConnectionErrorCode } from './errors.js';
export { browserSignals } from './signals.js';
export type {
  AnyGateway,
  ClientAuth,
  ClientClock,
  ClientOptions,
  ClientState,
  Disconnect,
  EventShape,
  Frame,
  GatewayShape,
  QueueOptions,
  ReconnectOptions,
  RequestOptions,
  Session,
  SignalHandlers,
  Signals,
  SocketLike,
  StreamOptions,
  TokenReason,
  TokenSource,
} from './types.js';
