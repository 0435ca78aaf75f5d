/** A query with one of its parameters as the number that it says; what says none is left for the rules to refuse. */
export function numberIn(query: Record<string, unknown>, name: string): Record<string, unknown> {
  const value = query[name];
  return typeof value === 'string' && /^\d{1,9}$/.test(value) ? { ...query, [name]: Number(value) } : query;
}
