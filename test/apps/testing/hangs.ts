// A test that hangs on purpose: its process ends all the same.
import 'reflect-metadata';
import { test } from 'node:test';
import { createWsTestingApp } from 'nestjs-ws-gateway/testing';
import { AppModule } from '../orders/app.module.js';

test('hangs', async () => {
  const t = await createWsTestingApp({ imports: [AppModule] });
  await t.connect({ sub: 'ada' });
  const began = performance.now();
  process.on('exit', () => process.stdout.write(`# ended after ${Math.round(performance.now() - began)} ms\n`));
  await new Promise(() => undefined);
});
