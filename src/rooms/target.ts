import type { WsSession } from '../session/ws-session.js';
import type { Published, RoomTarget } from './ws-rooms.js';

/** How a message for several rooms is published. */
export interface TargetHow {
  /** Ids of sessions. */
  readonly except: readonly string[];
  readonly volatile: boolean;
}

interface Publisher {
  publishToAll(names: readonly string[], event: string, data: unknown, how: TargetHow): Promise<Published>;
}

export class Target implements RoomTarget {
  constructor(
    private readonly rooms: Publisher,
    private readonly names: readonly string[],
    private readonly how: TargetHow = { except: [], volatile: false },
  ) {}

  except(...sessions: readonly (WsSession | string)[]): RoomTarget {
    const ids = sessions.map((session) => (typeof session === 'string' ? session : session.id));
    return new Target(this.rooms, this.names, { ...this.how, except: [...this.how.except, ...ids] });
  }

  volatile(): RoomTarget {
    return new Target(this.rooms, this.names, { ...this.how, volatile: true });
  }

  emit(event: string, data: unknown): Promise<Published> {
    return this.rooms.publishToAll(this.names, event, data, this.how);
  }
}
