import { afterEach, describe, expect, it } from 'vitest';
import { until } from '../support/app.js';
import { Client } from '../support/client.js';
import { startService, stopServices } from '../support/service.js';

afterEach(stopServices);

const secret = 'a-secret-for-tests-of-at-least-32-bytes';

describe('the console of the service', () => {
  it('is there in development, behind a link that is printed once; its token mints others', async () => {
    const service = await startService({});
    const link = (): RegExpExecArray | null => /(http:\/\/127\.0\.0\.1:\d+\/)#token=(\S+)\n/.exec(service.output());
    await until(() => link() !== null);
    const [, page = '', token = ''] = link() ?? [];
    expect(await (await fetch(page)).text()).toContain('<script type="module"');
    const admin = await Client.connect(`${page.replace('http', 'ws')}ws-console/socket`, { token });
    const claims = { sub: 'ada', roles: ['buyer'], scope: '', seconds: 60 };
    const { data } = await admin.ask({ event: 'ws-gateway.mint', data: claims, id: 1 });
    const ada = await Client.connect(`${page.replace('http', 'ws')}ws`, { token: (data as { token: string }).token });
    expect(await ada.ask({ event: 'session', id: 1 })).toMatchObject({ data: { subject: 'ada', roles: ['buyer'] } });
  });

  it('is in production where CONSOLE is true, and mints nothing with a secret of its own', async () => {
    const production = { NODE_ENV: 'production', JWT_SECRET: secret };
    const off = await startService(production);
    expect((await fetch(`${off.http}/`)).status).toBe(404);
    const on = await startService({ ...production, CONSOLE: 'true' });
    expect((await fetch(`${on.http}/config.json`)).status).toBe(200);
    expect(on.output()).not.toContain('#token=');
  });
});
