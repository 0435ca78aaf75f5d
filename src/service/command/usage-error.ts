/** Whoever started the command wrote something it does not know: answered with the help. */
export class UsageError extends Error {}
