/** The path of a gateway, as it is compared with others: with a slash at its beginning and none at its end. */
export function pathnameOf(path: string): string {
  const whole = path.startsWith('/') ? path : `/${path}`;
  return whole.length > 1 && whole.endsWith('/') ? whole.slice(0, -1) : whole;
}
