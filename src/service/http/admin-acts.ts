import { Injectable } from '@nestjs/common';
import { Doorkeeper } from '../../connection/doorkeeper.js';
import { WsMonitor } from '../../monitoring/ws-monitor.js';
import type { AdminEvent } from '../../monitoring/ws-monitor.js';
import type { AuthenticatedRequest } from './bearer.guard.js';

/** Tells of what administrators do. */
@Injectable()
export class AdminActs {
  constructor(
    private readonly monitor: WsMonitor,
    private readonly doorkeeper: Doorkeeper,
  ) {}

  /** @param act such as `sessions.revoke`; of these there are as many as methods */
  tell(
    request: AuthenticatedRequest,
    act: string,
    what: Pick<AdminEvent, 'subject' | 'sessionId' | 'details'> = {},
  ): void {
    const clientAddress = this.doorkeeper.addressOf(request);
    this.monitor.emit({ kind: 'admin', actor: request.principal.subject, act, clientAddress, ...what });
  }
}
