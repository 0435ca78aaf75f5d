import { LATE, MEMORY } from '../support/engines.js';
import { testModel } from './model-suite.js';

testModel('memory', MEMORY);
testModel('late', LATE);
