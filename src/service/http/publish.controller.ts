import { Controller, Header, HttpCode, Post, Req, UseGuards } from '@nestjs/common';
import { GatewayError, isErrorCode, specOf } from '../../protocol/errors.js';
import { toFailure } from '../../session/failure.js';
import { invalid } from '../../rooms/channel-requests.js';
import { AdminActs } from './admin-acts.js';
import { Backend, bodyOf } from './backend.js';
import type { PublishedItem } from './backend.js';
import { Everywhere } from './everywhere.js';
import { BearerGuard, RequireScope } from './bearer.guard.js';
import type { AuthenticatedRequest } from './bearer.guard.js';
import { readJson } from './json-body.js';

const MAX_PUBLISH_BYTES = 131_072;
const MAX_BATCH_BYTES = 1_048_576;
const MAX_DISCONNECT_BYTES = 16_384;
const MAX_ITEMS = 100;
const MAX_CHANNELS = 100;
const MAX_PUBLICATIONS = 1_000;

interface BatchError {
  readonly channel?: string;
  readonly error: { readonly code: string; readonly message: string };
}

type BatchItem = PublishedItem | BatchError | { readonly channels: readonly (PublishedItem | BatchError)[] };

/** For backends in any language: what they publish, and whom they disconnect. */
@Controller()
@UseGuards(BearerGuard)
export class PublishController {
  constructor(
    private readonly backend: Backend,
    private readonly acts: AdminActs,
    private readonly everywhere: Everywhere,
  ) {}

  @Post('publish')
  @RequireScope('ws-gateway:publish')
  @HttpCode(200)
  @Header('Cache-Control', 'no-store')
  async publish(@Req() request: AuthenticatedRequest): Promise<PublishedItem> {
    const body = bodyOf(await readJson(request, MAX_PUBLISH_BYTES), ['channel', 'event', 'data', 'except']);
    return this.backend.publish(request, body, request.headers['idempotency-key']).catch((error: unknown) => {
      throw isTooLarge(error) ? new GatewayError('MESSAGE_TOO_BIG') : error;
    });
  }

  /** One after the other, so that the items of one channel keep their order. One that fails stops no other. */
  @Post('publish/batch')
  @RequireScope('ws-gateway:publish')
  @HttpCode(200)
  @Header('Cache-Control', 'no-store')
  async publishAll(@Req() request: AuthenticatedRequest): Promise<{ items: BatchItem[] }> {
    const { items } = bodyOf(await readJson(request, MAX_BATCH_BYTES), ['items']);
    if (!Array.isArray(items) || items.length < 1 || items.length > MAX_ITEMS) {
      throw invalid('items', 'items', `items must be a list of 1 to ${MAX_ITEMS}`);
    }
    if (items.reduce((sum: number, item) => sum + publicationsIn(item), 0) > MAX_PUBLICATIONS) {
      throw invalid('items', 'publications', `items must be at most ${MAX_PUBLICATIONS} publications`);
    }
    const answers: BatchItem[] = [];
    for (const item of items) answers.push(await this.#publishItem(request, item));
    return { items: answers };
  }

  async #publishItem(request: AuthenticatedRequest, item: unknown): Promise<BatchItem> {
    return this.#tried(async () => {
      const { channels, key, ...rest } = bodyOf(item, ['channel', 'channels', 'event', 'data', 'key', 'except']);
      if (channels === undefined) return this.backend.publish(request, rest, key);
      if (
        rest.channel !== undefined ||
        !Array.isArray(channels) ||
        channels.length < 1 ||
        channels.length > MAX_CHANNELS
      ) {
        throw invalid('channels', 'channels', `either channel, or channels as a list of 1 to ${MAX_CHANNELS}`);
      }
      const answers: (PublishedItem | BatchError)[] = [];
      for (const channel of channels as unknown[]) {
        const answer = await this.#tried(() => this.backend.publish(request, { ...rest, channel }, key));
        answers.push({ ...(typeof channel === 'string' && { channel }), ...answer });
      }
      return { channels: answers };
    });
  }

  async #tried<T>(act: () => Promise<T>): Promise<T | BatchError> {
    try {
      return await act();
    } catch (error) {
      const { code, message } = toFailure(error);
      if (code === 'INTERNAL') throw error;
      return { error: { code, message } };
    }
  }

  @Post('disconnect')
  @RequireScope('ws-gateway:admin')
  @HttpCode(200)
  async disconnect(@Req() request: AuthenticatedRequest): ReturnType<Everywhere['disconnect']> {
    const { code, ...whose } = bodyOf(await readJson(request, MAX_DISCONNECT_BYTES), ['sessionId', 'subject', 'code']);
    // One that counts towards a ban would punish the client for what an operator does.
    if (code !== undefined && (!isErrorCode(code) || specOf(code).violation !== undefined)) {
      throw invalid('code', 'code', 'code must be one that a session can end with, and no violation');
    }
    const done = await this.everywhere.disconnect(this.backend.whoseOf(whose), code);
    this.acts.tell(request, 'sessions.disconnect', {
      ...(typeof whose.sessionId === 'string' && { sessionId: whose.sessionId }),
      ...(typeof whose.subject === 'string' && { subject: whose.subject }),
      details: { ended: done.ended },
    });
    return done;
  }
}

function publicationsIn(item: unknown): number {
  const { channels } = (item ?? {}) as { channels?: unknown };
  return Array.isArray(channels) ? channels.length : 1;
}

function isTooLarge(error: unknown): boolean {
  if (!(error instanceof GatewayError) || !Array.isArray(error.details)) return false;
  return error.details.some(({ rule }: { rule: unknown }) => rule === 'maxBytes');
}
