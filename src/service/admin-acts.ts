import { Injectable } from '@nestjs/common';
import { addressOf } from '../firewall/client-address.js';
import { WsMonitor } from '../monitoring/events.js';
import type { AdminEvent } from '../monitoring/events.js';
import type { AuthenticatedRequest } from './bearer.guard.js';

/** Tells of what administrators do. */
@Injectable()
export class AdminActs {
  constructor(private readonly monitor: WsMonitor) {}

  /** @param act such as `sessions.revoke`; of these there are as many as methods */
  tell(
    { principal, socket }: AuthenticatedRequest,
    act: string,
    what: Pick<AdminEvent, 'subject' | 'sessionId' | 'details'> = {},
  ): void {
    const clientAddress = addressOf(socket);
    this.monitor.emit({ kind: 'admin', actor: principal.subject, act, clientAddress, ...what });
  }
}
