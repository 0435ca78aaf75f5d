import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: new URL('..', import.meta.url).pathname,
  resolve: { alias: { 'nestjs-ws-gateway': new URL('../src/index.ts', import.meta.url).pathname } },
  // Vite reads the decorator options of the package's tsconfig.json; its `include` has to cover `test`.
  test: {
    include: ['test/**/*.test.ts'],
    setupFiles: ['test/support/setup.ts'],
    testTimeout: 20_000,
    hookTimeout: 20_000,
  },
});
