/** A process that logs as the service does, as much as its parent asks for, and says what it holds. */
import { createLog } from '../../dist/service/logging/logging.js';

const { pino, output } = await createLog({ logLevel: 'info', logFormat: process.argv[2] }, { now: () => Date.now() });
const text = 'x'.repeat(1_000);

process.on('message', async (count) => {
  for (let n = 0; n < count; n++) pino.info({ n, text }, 'flood');
  await new Promise(setImmediate); // so that it is seen to go on
  process.send({ waiting: process.stdout.writableLength, problem: output.problem });
});
process.on('disconnect', () => process.exit(0));
process.send('ready');
