import type { Provider } from '@nestjs/common';
import { Fingerprints } from './fingerprint.js';
import type { KeyRing } from './key-ring.js';
import { WsSeal } from './ws-seal.js';
import type { SealOptions } from './ws-seal.js';

/** Token of the ring that seals fields; undefined where nothing is sealed. */
export const SEALING_KEYS = Symbol('nestjs-ws-gateway.sealing-keys');
/** Token of the bounds of what is opened. */
export const SEALING_LIMITS = Symbol('nestjs-ws-gateway.sealing-limits');
/** Token of the ring of fingerprints; undefined for a random key of the process. */
export const FINGERPRINT_KEYS = Symbol('nestjs-ws-gateway.fingerprint-keys');

export const dataProtectionProviders: Provider[] = [
  {
    provide: WsSeal,
    inject: [SEALING_KEYS, SEALING_LIMITS],
    useFactory: (keys: KeyRing | undefined, limits: SealOptions) => WsSeal.create(keys, limits),
  },
  {
    provide: Fingerprints,
    inject: [FINGERPRINT_KEYS],
    useFactory: (keys: KeyRing | undefined) => (keys === undefined ? Fingerprints.ofProcess() : new Fingerprints(keys)),
  },
];
