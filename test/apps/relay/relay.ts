import { Module } from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { matchFilters } from 'nostr-tools/filter';
import type { Filter } from 'nostr-tools/filter';
import { verifyEvent } from 'nostr-tools/pure';
import type { NostrEvent } from 'nostr-tools/pure';
import { concat, from, of, Subject } from 'rxjs';
import { filter } from 'rxjs/operators';
import { z } from 'zod';
import { arrays, Public, RateLimit, UseProtocol, WsGatewayModule } from 'nestjs-ws-gateway';

/** Notes that are kept, and the most that one subscription gets of them. */
const MAX_NOTES = 1_000;
const MAX_STORED = 100;

/** NIP-01: so many bytes in lower case hexadecimal. */
const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`));
const time = z.int().min(0);
const kind = z.int().min(0).max(65_535);

const Note = z.strictObject({
  id: hex(32),
  pubkey: hex(32),
  created_at: time,
  kind,
  tags: z.array(z.array(z.string().max(1_024)).max(20)).max(100),
  content: z.string().max(10_000),
  sig: hex(64),
});

const list = <T extends z.ZodType>(item: T) => z.array(item).max(100).optional();
const NoteFilter = z
  .object({
    ids: list(hex(32)),
    authors: list(hex(32)),
    kinds: list(kind),
    since: time.optional(),
    until: time.optional(),
    limit: time.optional(),
  })
  .catchall(list(z.string().max(1_024))); // `#e`, `#p`, and those of other tags
const NoteFilters = z.array(NoteFilter).min(1).max(10);

/** Clients are anonymous: the author of a note signs it. */
@Public()
@UseProtocol(arrays({ like: 'nostr' }))
@WebSocketGateway({ path: '/' })
export class Relay {
  #notes: NostrEvent[] = [];
  readonly #published = new Subject<NostrEvent>();

  /** A signature costs a millisecond to verify, so that there is a budget for it. */
  @RateLimit({ limit: 60, perMs: 60_000 })
  @SubscribeMessage('EVENT')
  publish(@MessageBody({ schema: Note }) note: NostrEvent): string | undefined {
    if (!verifyEvent(note)) return 'invalid: the signature does not fit';
    if (note.kind === 7) return 'blocked: this relay has no reactions';
    if (this.#notes.some(({ id }) => id === note.id)) return undefined;
    this.#notes = [...this.#notes.slice(1 - MAX_NOTES), note];
    this.#published.next(note);
    return undefined;
  }

  /** What is there, the newest first; EOSE; and from then on what is published. */
  @SubscribeMessage('REQ')
  request(@MessageBody({ schema: NoteFilters }) filters: Filter[]) {
    const limit = Math.min(MAX_STORED, ...filters.map((one) => one.limit ?? MAX_STORED));
    const isWanted = (note: NostrEvent): boolean => matchFilters(filters, note);
    const stored = this.#notes.filter(isWanted).toReversed().slice(0, limit);
    return concat(from(stored), of({ event: 'EOSE', data: undefined }), this.#published.pipe(filter(isWanted)));
  }

  @SubscribeMessage('COUNT')
  count(@MessageBody({ schema: NoteFilters }) filters: Filter[]) {
    return { count: this.#notes.filter((note) => matchFilters(filters, note)).length };
  }
}

@Module({
  imports: [WsGatewayModule.forRoot({ auth: { anonymous: true, sources: [] }, firewall: { origins: ['*'] } })],
  providers: [Relay],
})
export class RelayModule {}
