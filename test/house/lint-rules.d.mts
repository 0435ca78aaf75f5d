/** What each room, and each file beside them, may import. */
export const table: Readonly<Record<string, readonly string[]>>;
/** The overrides of the linter that say so. */
export const overrides: readonly object[];
