import { group, Option } from '../base/options.js';
import type { Place } from '../base/options.js';
import { KEY_RING_FORMAT, KeyRing, KeyRingError } from './key-ring.js';

export const SEALING = group({
  /** Keys for sealed fields, the newest first: `kid:base64url,kid:base64url`, each of 32 bytes. Unset: nothing is sealed. */
  keys: new Option<string, KeyRing | undefined>(undefined, { type: 'string' }, readKeyRing),
});

export const FINGERPRINTS = group({
  /** Keys for pseudonyms, in the same form; nodes of a cluster need the same. @default a random one for the process */
  keys: new Option<string, KeyRing | undefined>(undefined, { type: 'string' }, readKeyRing),
});

/** Its complaints show nothing of what was given: that is secret. */
function readKeyRing(given: unknown, place: Place): KeyRing | undefined {
  if (typeof given !== 'string') return place.complain(`must be a string: ${KEY_RING_FORMAT}`);
  try {
    return KeyRing.parse(given);
  } catch (error) {
    if (!(error instanceof KeyRingError)) throw error;
    for (const problem of error.problems) place.complain(problem);
    return undefined;
  }
}
