import type { Key } from './seal.mjs';

export interface Payout {
  readonly amount: number;
  readonly iban: string;
}

export function payout(
  as: { readonly url: string; readonly token: string; readonly subject: string; readonly key: Key },
  wanted: Payout,
): Promise<unknown>;
