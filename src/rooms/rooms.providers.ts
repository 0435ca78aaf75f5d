import type { Provider } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { ENGINE } from '../engine/engine.js';
import { MemoryEngine } from '../engine/memory-engine.js';
import { SESSION_ROOMS } from '../session/session-host.js';
import { CHANNEL_OPTIONS } from './options.js';
import type { ResolvedChannels } from './options.js';
import { Rooms } from './rooms.js';
import { WsRooms } from './ws-rooms.js';

export const roomProviders: Provider[] = [
  {
    provide: ENGINE,
    inject: [CHANNEL_OPTIONS, WsClock],
    useFactory: (options: ResolvedChannels, clock: WsClock) => new MemoryEngine(options, clock),
  },
  Rooms,
  { provide: WsRooms, useExisting: Rooms },
  { provide: SESSION_ROOMS, useExisting: Rooms },
];
