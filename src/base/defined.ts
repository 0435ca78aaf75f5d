/** A copy without the members that are undefined: it may be spread over defaults, and a filter has no member that selects nothing. */
export function definedOf<T extends object>(members: T): Partial<T> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as Partial<T>; // because only members are left out
}
