import type { Provider } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { EMITTER } from '../base/emitter.js';
import { FACTS } from '../engine/facts.js';
import { Firewall } from './firewall.js';
import { WsFirewall } from './ws-firewall.js';

/** Token of `options.firewall`. */
export const FIREWALL_OPTIONS = Symbol('nestjs-ws-gateway.firewall-options');
/** Token of the budgets of `options.limits`. */
export const FIREWALL_LIMITS = Symbol('nestjs-ws-gateway.firewall-limits');

export const firewallProviders: Provider[] = [
  {
    provide: Firewall,
    inject: [FIREWALL_OPTIONS, FIREWALL_LIMITS, WsClock, EMITTER, FACTS],
    useFactory: (...parts: ConstructorParameters<typeof Firewall>) => new Firewall(...parts),
  },
  { provide: WsFirewall, useExisting: Firewall },
];
