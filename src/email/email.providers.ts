import type { Provider } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import type { EmailOptions } from './options.js';
import { WsEmail } from './ws-email.js';

/** Token of `options.email`. */
export const EMAIL_OPTIONS = Symbol('nestjs-ws-gateway.email-options');

export const emailProviders: Provider[] = [
  {
    provide: WsEmail,
    inject: [EMAIL_OPTIONS, WsClock],
    useFactory: (options: EmailOptions, clock: WsClock) => new WsEmail(options, clock),
  },
];
