// Runs a TypeScript file of the tests as a program: node test/support/typescript.mjs <file> [arguments]
// Through Vite, as the tests are, since Node 20 reads no TypeScript and decorators are more than types to strip.
import { runnerImport } from 'vite';

const root = new URL('../..', import.meta.url).pathname;
const [file, ...rest] = process.argv.slice(2);
process.argv = [process.argv[0], file, ...rest];
await runnerImport(new URL(file, `file://${process.cwd()}/`).pathname, {
  configFile: false,
  logLevel: 'error',
  root,
  resolve: { alias: { 'nestjs-ws-gateway': `${root}src/index.ts` } },
});
