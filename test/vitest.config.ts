import { availableParallelism } from 'node:os';
import { configDefaults, defineConfig } from 'vitest/config';
import { hasProgram } from './support/service.js';

const hasTls = hasProgram('openssl, for the runs over TLS,', 'openssl', ['version']);

/** What measures memory or time of its process: each has a process of its own, and nothing runs beside it. */
const ALONE = ['test/e2e/hostile/*.test.ts', 'test/e2e/growth.test.ts', 'test/session/heap-cost.test.ts'];

/** What changes what its process has (environment, tracer, timers): each has a process of its own. */
const APART = [
  'test/apps/*.test.ts',
  'test/client/readme.test.ts',
  'test/connection/tracing.test.ts',
  'test/e2e/incident.test.ts',
  'test/monitoring/tracing-faults.test.ts',
  'test/proxy/tracing.test.ts',
];

export default defineConfig({
  root: new URL('..', import.meta.url).pathname,
  resolve: {
    alias: {
      'nestjs-ws-gateway/testing': new URL('../src/testing/index.ts', import.meta.url).pathname,
      'nestjs-ws-gateway': new URL('../src/index.ts', import.meta.url).pathname,
    },
  },
  // Vite reads the decorator options of the package's tsconfig.json; its `include` has to cover `test`.
  test: {
    setupFiles: ['test/support/setup.ts'],
    testTimeout: 20_000,
    hookTimeout: 20_000,
    // Loading Nest and the package takes longer than most files' tests, so the files share their processes, one for each core.
    isolate: false,
    maxWorkers: Math.max(2, availableParallelism()),
    projects: [
      {
        extends: true,
        test: { name: 'ws', include: ['test/**/*.test.ts'], exclude: [...configDefaults.exclude, ...ALONE, ...APART] },
      },
      { extends: true, test: { name: 'apart', include: APART, isolate: true } },
      {
        // The dialogues of the protocol once more, with everything in TLS.
        extends: true,
        test: {
          name: 'wss',
          include: hasTls ? ['test/e2e/*.test.ts'] : [],
          exclude: [...configDefaults.exclude, ...ALONE],
          env: { TEST_TLS: '1' },
        },
      },
      {
        extends: true,
        test: { name: 'alone', include: ALONE, isolate: true, maxWorkers: 1, sequence: { groupOrder: 1 } },
      },
    ],
  },
});
