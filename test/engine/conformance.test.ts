import { MemoryEngine } from '../../src/engine/memory-engine.js';
import { ManualClock } from '../support/app.js';
import { testEngine } from './suite.js';

testEngine('memory', () => {
  const clock = new ManualClock();
  const limits = { maxHistoryBytes: 1_048_576 };
  const engine = new MemoryEngine(limits, clock);
  const pass = (ms: number): void => {
    clock.jump(ms);
    for (let n = 0; n < 4; n++) engine.sweep(clock.monotonic());
  };
  return { engine, pass, maxHistoryBytes: limits.maxHistoryBytes };
});
