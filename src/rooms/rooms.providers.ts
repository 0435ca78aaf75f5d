import type { Provider } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { CLUSTER } from '../engine/cluster.js';
import type { Cluster } from '../engine/cluster.js';
import { ENGINE } from '../engine/engine.js';
import { MemoryEngine } from '../engine/memory-engine.js';
import { SESSION_ROOMS } from '../session/session-host.js';
import { ChannelBudgets } from './channel-budgets.js';
import { ChannelRights } from './channel-rights.js';
import { Channels } from './channels.js';
import { LostRights } from './lost-rights.js';
import { Members } from './members.js';
import { Memberships } from './memberships.js';
import { CHANNEL_OPTIONS } from './options.js';
import type { ResolvedChannels } from './options.js';
import { Presence } from './presence.js';
import { Publications } from './publications.js';
import { RequestOrder } from './request-order.js';
import { Rooms } from './rooms.js';
import { Subscriptions } from './subscriptions.js';
import { WsRooms } from './ws-rooms.js';

export const roomProviders: Provider[] = [
  {
    provide: ENGINE,
    inject: [CLUSTER, CHANNEL_OPTIONS, WsClock],
    useFactory: ({ engine }: Cluster, options: ResolvedChannels, clock: WsClock) =>
      engine ?? new MemoryEngine(options, clock),
  },
  Memberships,
  Members,
  Publications,
  Presence,
  Rooms,
  Subscriptions,
  RequestOrder,
  ChannelRights,
  ChannelBudgets,
  LostRights,
  Channels,
  { provide: WsRooms, useExisting: Rooms },
  { provide: SESSION_ROOMS, useExisting: Rooms },
];
