import 'reflect-metadata';
import { ConsoleLogger, Logger } from '@nestjs/common';

// Files share their process, and an application without a logger takes it from the whole process: each file begins with one.
Logger.overrideLogger(new ConsoleLogger());
