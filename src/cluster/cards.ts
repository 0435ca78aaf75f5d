import type { NodeInfo } from '../engine/ws-cluster.js';

/** What a node says of itself with each beat. */
interface Card extends Omit<NodeInfo, 'seenAt'> {
  readonly latestExpiry: number;
}

/** @param latestExpiry of all tokens that were shown to the node */
export function cardOf(node: NodeInfo, latestExpiry: number): string {
  const { seenAt: _, ...rest } = node;
  return JSON.stringify({ ...rest, latestExpiry } satisfies Card);
}

/** What a beat returns of the nodes. @param now in epoch milliseconds of this node */
export function readCards(reply: unknown, now: number): { living: NodeInfo[]; latestExpiry: number } {
  const [, , , at, cards, beats] = reply as [number, string, number, number, string[], string[]]; // because the script returns that
  const seen = new Map<string, number>();
  for (let i = 0; i + 1 < beats.length; i += 2) seen.set(beats[i] as string, Number(beats[i + 1])); // because i is in range
  const living: NodeInfo[] = [];
  let latestExpiry = 0;
  for (let i = 1; i < cards.length; i += 2) {
    const card = cardIn(cards[i] as string); // because i is in range
    if (card === undefined || !seen.has(card.id)) continue;
    const { latestExpiry: latest, ...node } = card;
    latestExpiry = Math.max(latestExpiry, latest);
    living.push({ ...node, seenAt: now - (at - (seen.get(card.id) ?? at)) });
  }
  return { living: living.toSorted((one, other) => one.startedAt - other.startedAt), latestExpiry };
}

/** @returns undefined for what no node has written */
function cardIn(text: string): Card | undefined {
  try {
    const card = JSON.parse(text) as Partial<Card> | null; // because its members are looked at
    const isCard = typeof card?.id === 'string' && typeof card.name === 'string' && Number.isFinite(card.latestExpiry);
    return isCard ? (card as Card) : undefined; // because a node writes all of them
  } catch {
    return undefined;
  }
}
