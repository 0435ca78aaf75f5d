/** The command line has a mistake: the message and the help answer it. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The command cannot do what it was asked for; its message is one sentence and says what to do. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}
