import type { JwtVerifier } from '../authentication/jwt/jwt-verifier.js';
import { replaceRing } from '../data-protection/fingerprint.js';
import type { Fingerprints } from '../data-protection/fingerprint.js';
import { KeyRing } from '../data-protection/key-ring.js';
import { takeOver, WsSeal } from '../data-protection/ws-seal.js';
import type { Firewall } from '../firewall/firewall.js';
import { WsGatewayOptionsError } from '../ws-gateway.options.js';
import type { ResolvedOptions } from '../ws-gateway.options.js';
import type { Reloadable } from './reloadable.js';

/** Keys and issuers of tokens; a missing package for published keys is found before anything changes. */
export const issuersOf = (jwt: JwtVerifier): Reloadable => ({
  prepare: ({ auth }) => jwt.prepare(auth.issuers, auth.claims),
});

export const sealingOf = (seal: WsSeal): Reloadable => ({
  async prepare({ sealing, limits }) {
    if (sealing.keys === undefined && seal.isReady) {
      throw new WsGatewayOptionsError(['sealing.keys can be rotated while the module runs, and not be taken away']);
    }
    const next = await WsSeal.create(sealing.keys, limits);
    return () => takeOver(seal, next);
  },
});

export const pseudonymsOf = (fingerprints: Fingerprints): Reloadable => ({
  prepare(next, isChanged) {
    const ring = isChanged('fingerprints.keys') ? (next.fingerprints.keys ?? KeyRing.ofProcess()) : undefined;
    return () => {
      if (ring !== undefined) replaceRing(fingerprints, ring);
    };
  },
});

/** @param problems says what is wrong with paths that the options name */
export const pathsOf = (problems: (paths: ResolvedOptions['paths']) => readonly string[]): Reloadable => ({
  prepare({ paths }) {
    const wrong = problems(paths);
    if (wrong.length > 0) throw new WsGatewayOptionsError(wrong);
    return () => undefined;
  },
});

const LISTS = ['allow', 'deny', 'exempt'] as const;

/** Lists that the application has set stay as it has set them, unless the options have others than before. */
export const listsOf = (firewall: Firewall): Reloadable => ({
  prepare(next, isChanged) {
    const changed = LISTS.filter((list) => isChanged(`firewall.${list}`));
    return () => {
      firewall.admission.applyProxies();
      return firewall.setLists(Object.fromEntries(changed.map((list) => [list, next.firewall[list]])));
    };
  },
});
