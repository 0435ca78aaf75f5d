/** Numbers and times as a reader takes them in at a glance. */

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat('en-US', { maximumFractionDigits: 1 });

export const NONE = '–';

type Value = number | null | undefined;

export function count(value: Value): string {
  return value === null || value === undefined ? NONE : whole.format(value);
}

/** Short enough for an axis: 12k, 3.4M. */
export function short(value: Value): string {
  if (value === null || value === undefined) return NONE;
  const size = Math.abs(value);
  if (size >= 1e6) return `${fine.format(value / 1e6)}M`;
  if (size >= 1e4) return `${fine.format(value / 1e3)}k`;
  return size >= 100 || Number.isInteger(value) ? whole.format(value) : String(Number(value.toPrecision(2)));
}

export function bytes(value: Value): string {
  if (value === null || value === undefined) return NONE;
  if (value < 1_024) return `${Math.round(value)} B`;
  const [size, unit] = value < 1_048_576 ? [value / 1_024, 'KB'] : [value / 1_048_576, 'MB'];
  return `${fine.format(size)} ${unit}`;
}

export function ms(value: Value): string {
  if (value === null || value === undefined) return NONE;
  if (value >= 1_000) return `${fine.format(value / 1_000)} s`;
  return `${value < 10 ? Number(value.toPrecision(2)) : Math.round(value)} ms`;
}

export function percent(value: Value): string {
  return value === null || value === undefined ? NONE : `${fine.format(value * 100)} %`;
}

export function time(at: number): string {
  return new Date(at).toLocaleTimeString('en-GB');
}

export function clock(at: number): string {
  return time(at).slice(0, 5);
}

/** A span of time in one unit, or two where the first is small: 3 h 20 min. */
export function span(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1_000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
