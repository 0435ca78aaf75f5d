import { Injectable } from '@nestjs/common';
import { NO_ANSWER, reply } from '../connection/request.js';
import { controllerOf } from '../connection/signals.js';
import type { Route } from '../connection/router.js';
import type { GatewayServer } from '../connection/server.js';
import { Channels } from '../rooms/channels.js';
import type { Asked } from '../rooms/request-order.js';
import type { Session } from '../session/session.js';
import type { InboundMessage } from '../protocol/message.js';
import { isThenable } from '../base/thenable.js';

/** The events of channels. They are there where the application has rules for channels, and no handler may have their names. */
@Injectable()
export class ChannelRoutes {
  constructor(private readonly channels: Channels) {}

  of(server: GatewayServer): Route[] {
    const { channels } = this;
    if (!channels.isOn || server.raw !== undefined) return []; // a path of frames that are not ours has no pushes
    const route = (event: string, call: Route['call']): Route => ({
      event,
      serial: false,
      isReplaceable: false,
      takesSignal: true, // it is looked at by a request that has waited
      isPublic: true, // some channels are open to all
      traffic: server.context.traffic.of(event),
      call,
    });
    return [
      route('subscribe', (session, message) => this.#subscribe(session, message)),
      route('unsubscribe', (session, { data }) => channels.unsubscribe(session, data)),
      route('publish', (session, message) => this.#publish(session, message)),
      route('presence', (session, message) => channels.presenceOf(session, message.data, asked(session, message))),
    ];
  }

  /** What was missed follows the answer, and what is published later follows that: so the answer is sent here. */
  #subscribe(session: Session, message: InboundMessage): symbol | Promise<symbol> {
    const done = this.channels.subscribe(session, message.data, asked(session, message), (result) =>
      reply(session, message, result),
    );
    return isThenable(done) ? Promise.resolve(done).then(() => NO_ANSWER) : NO_ANSWER;
  }

  /** Without an `id` it is answered only when it fails. */
  #publish(session: Session, message: InboundMessage): unknown {
    const done = this.channels.publish(session, message.data, asked(session, message));
    if (message.id !== undefined) return done;
    return isThenable(done) ? Promise.resolve(done).then(() => NO_ANSWER) : NO_ANSWER;
  }
}

function asked(session: Session, message: InboundMessage): Asked {
  return { demandWanted: () => controllerOf(message, session).signal.throwIfAborted() };
}
