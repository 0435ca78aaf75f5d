import type { Provider } from '@nestjs/common';
import { Verification } from '../authentication/verification.js';
import { Deadlines } from '../authentication/deadlines.js';
import { WsClock } from '../base/clock.js';
import { EMITTER } from '../base/emitter.js';
import { Firewall } from '../firewall/firewall.js';
import { ByteBudget } from '../session/byte-budget.js';
import { Revalidation } from '../session/revalidation.js';
import { SessionRegistry } from '../session/registry.js';
import type { Session } from '../session/session.js';
import { FACTS } from '../engine/facts.js';
import type { Facts } from '../engine/facts.js';
import { SESSION_ROOMS } from '../session/session-host.js';
import type { SessionRooms } from '../session/session-host.js';
import { Disconnects } from './disconnects.js';
import { Doorkeeper } from './doorkeeper.js';
import { LoadGauge } from './load-gauge.js';
import { CONNECTION_OPTIONS, CONTEXT } from './options.js';
import { OptionsByPath } from './options-by-path.js';
import { PendingRequests } from './request.js';
import { serverOf } from './context.js';
import type { ConnectionContext } from './context.js';
import { loadTracing } from './open-telemetry.js';
import type { Tracing } from './tracing.js';
import { Traffic } from './traffic.js';

type Options = ConnectionContext['options'];

/** Undefined where no spans are made. */
const TRACING = Symbol('nestjs-ws-gateway.tracing');

export const connectionProviders: Provider[] = [
  OptionsByPath,
  PendingRequests,
  Disconnects,
  LoadGauge,
  Doorkeeper,
  {
    provide: Traffic,
    inject: [CONNECTION_OPTIONS, EMITTER],
    useFactory: ({ monitoring }: Options, monitor: ConnectionContext['monitor']) =>
      new Traffic(monitoring.metrics, monitor),
  },
  {
    provide: TRACING,
    inject: [CONNECTION_OPTIONS],
    useFactory: ({ monitoring }: Options) => (monitoring.traces ? loadTracing() : undefined),
  },
  {
    provide: CONTEXT,
    inject: [
      CONNECTION_OPTIONS,
      WsClock,
      EMITTER,
      SessionRegistry,
      Verification,
      Deadlines,
      Firewall,
      LoadGauge,
      ByteBudget,
      Revalidation,
      PendingRequests,
      Disconnects,
      Traffic,
      TRACING,
      SESSION_ROOMS,
      FACTS,
    ],
    useFactory: (
      options: Options,
      clock: WsClock,
      monitor: ConnectionContext['monitor'],
      sessions: SessionRegistry,
      authentication: Verification,
      deadlines: Deadlines,
      firewall: Firewall,
      load: LoadGauge,
      byteBudget: ByteBudget,
      revalidation: Revalidation,
      pending: PendingRequests,
      disconnects: Disconnects,
      traffic: Traffic,
      tracing: Tracing | undefined,
      rooms: SessionRooms<Session>,
      facts: Facts,
    ): ConnectionContext => {
      firewall.onBan((notice) => sessions.endBanned(notice));
      sessions.onLeave(({ subjectUsage }) => subjectUsage !== undefined && firewall.metering.part(subjectUsage));
      sessions.onLeave((session) => serverOf(session).clients.delete(session.socket));
      const shared = { options, clock, monitor, sessions, authentication, deadlines, firewall };
      return { ...shared, load, byteBudget, revalidation, pending, disconnects, traffic, tracing, rooms, facts };
    },
  },
];
