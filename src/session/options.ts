import type { MessageLimits } from '../firewall/message-budget.js';

/** The options that a session reads, each time anew, since a reload changes them. */
export interface SessionOptions {
  readonly limits: MessageLimits & {
    readonly maxMessageBytes: number;
    readonly maxJsonDepth: number;
    readonly maxConcurrentMessages: number;
    readonly maxStreams: number;
    readonly maxBadFrames: number;
    readonly maxOutboundBytes: number;
    readonly messageTimeoutMs: number;
    readonly handlerTimeoutMs: number;
  };
  readonly heartbeat: { readonly intervalMs: number; readonly timeoutMs: number };
  readonly auth: { readonly anonymous: boolean; readonly timeoutMs: number; readonly refreshLeadMs: number };
  readonly errors: { readonly event: string };
}
