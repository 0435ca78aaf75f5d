import { configDefaults, defineConfig } from 'vitest/config';
import { hasProgram } from './support/service.js';

const hasTls = hasProgram('openssl, for the runs over TLS,', 'openssl', ['version']);

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
    projects: [
      { extends: true, test: { name: 'ws', include: ['test/**/*.test.ts'] } },
      {
        // The dialogues of the protocol once more, with everything in TLS.
        extends: true,
        test: {
          name: 'wss',
          include: hasTls ? ['test/e2e/*.test.ts'] : [],
          exclude: [...configDefaults.exclude, 'test/e2e/growth.test.ts'],
          env: { TEST_TLS: '1' },
        },
      },
    ],
  },
});
