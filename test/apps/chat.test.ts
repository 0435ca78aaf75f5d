import { readFileSync } from 'node:fs';
import { Body, Controller, Get, Header, Post } from '@nestjs/common';
import { afterEach, describe, expect, it } from 'vitest';
import { WsRooms, WsSessions } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import { hasBrowser, withPage } from '../support/browser.js';
import { token } from '../support/tokens.js';
import { RULES } from './chat/chat.js';

afterEach(stopApps);

const read = (name: string): string => readFileSync(new URL(`chat/${name}`, import.meta.url), 'utf8');
const page = read('chat.html').replace(' src="page.js">', `>${read('page.js')}`);

/** The page, which tells of what it shows. */
const TELLING = `${page}<script>
  new MutationObserver(() => {
    const body = JSON.stringify([...messages.children].map(({ textContent }) => textContent));
    fetch('/shown', { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  }).observe(messages, { childList: true });
</script>`;

let shown: readonly string[] = [];

@Controller()
class PageController {
  @Get()
  @Header('Content-Type', 'text/html; charset=utf-8')
  page(): string {
    return TELLING;
  }

  @Post('shown')
  tell(@Body() texts: string[]): void {
    if (texts.length > shown.length) shown = texts; // the requests may overtake each other
  }
}

describe.runIf(hasBrowser())('the page of the README', () => {
  it('shows what is said, and after a break what was said meanwhile', async () => {
    const test = await startApp({ options: { channels: { rules: RULES } }, controllers: [PageController] });
    const rooms = test.app.get(WsRooms);
    const say = (text: string): unknown => rooms.publish('room.42', 'chat.message', { text });
    const isThere = (): boolean =>
      test.app
        .get(WsSessions)
        .find()
        .some((session) => session.rooms.length === 1);
    await withPage(`${test.url.replace('ws', 'http')}/#${token()}`, async () => {
      await until(isThere);
      say('first');
      await until(() => shown.length === 1);
      for (const { socket } of test.app.get(WsSessions).find()) socket.terminate();
      await until(() => !isThere());
      say('meanwhile');
      await until(isThere);
      say('last');
      await until(() => shown.length === 3);
    });
    expect(shown).toEqual(['first', 'meanwhile', 'last']);
  });
});
