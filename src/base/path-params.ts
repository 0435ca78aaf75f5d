/** What the parameters of a gateway's path are at one upgrade, decoded: a text, or of a wildcard the texts of its segments. */
export type PathParams = Readonly<Record<string, string | readonly string[]>>;

export const NO_PARAMS: PathParams = Object.freeze({});
