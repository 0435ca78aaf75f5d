import { useMemo } from 'preact/hooks';
import type { ComponentChildren, JSX } from 'preact';
import type { CodeKind, SeriesName } from '../../wire.js';
import { bytes, count, ms, percent, short } from '../format.js';
import { usePart, useStore } from '../hooks.js';
import { binned } from '../bins.js';
import { Plot, Spark } from '../plot.js';
import type { Line } from '../plot.js';
import type { Point } from '../point.js';

/** Codes that have a line of their own; the rest is one. */
const MAX_LINES = 5;
const OTHERS = 'others';

/** Seconds of a point of a line, and of a bar. */
const [LINE_S, BAR_S] = [5, 10];

export function Overview(): JSX.Element {
  const store = useStore();
  const points = usePart(store, (state) => state.points);
  const { times, lines, barTimes, bars } = useMemo(() => {
    const bins = binned(points, LINE_S);
    const barBins = binned(points, BAR_S);
    const series = (names: Readonly<Record<string, SeriesName>>): Line[] =>
      Object.entries(names).map(([label, name]) => ({ label, values: bins.map(({ values }) => values[name]) }));
    return {
      times: bins.map(({ at }) => at),
      lines: {
        messages: series({ in: 'messagesIn', out: 'messagesOut' }),
        latency: series({ p50: 'p50', p95: 'p95', p99: 'p99' }),
        sessions: series({ open: 'open', opening: 'opening', anonymous: 'anonymous' }),
        bytes: series({ in: 'bytesIn', out: 'bytesOut' }),
        work: series({ 'in flight': 'inFlight' }),
        loop: series({ busy: 'loop' }),
      },
      barTimes: barBins.map(({ at }) => at),
      bars: {
        refusals: codesOf(barBins, 'refusals'),
        exceptions: codesOf(barBins, 'exceptions'),
        closes: codesOf(barBins, 'closes'),
      },
    };
  }, [points]);
  const pick = (code: string): void => {
    if (code !== OTHERS) location.hash = `#/failures?code=${encodeURIComponent(code)}`;
  };
  return (
    <>
      <Tiles points={points} />
      <section class="plots" aria-label="The last 15 minutes">
        <Plot title="Messages per second" times={times} lines={lines.messages} />
        <Plot title="Latency of handlers" times={times} lines={lines.latency} format={ms} isLog />
        <Plot title="Sessions" times={times} lines={lines.sessions} format={short} />
        <Plot title={`Refused upgrades in ${BAR_S} s`} times={barTimes} lines={bars.refusals} isStacked onPick={pick} />
        <Plot title={`Exceptions in ${BAR_S} s`} times={barTimes} lines={bars.exceptions} isStacked onPick={pick} />
        <Plot title={`Closes in ${BAR_S} s`} times={barTimes} lines={bars.closes} isStacked onPick={pick} />
        <Plot title="Bytes per second" times={times} lines={lines.bytes} format={bytes} />
        <Plot title="Requests in flight" times={times} lines={lines.work} />
        <Plot title="Event loop, busy" times={times} lines={lines.loop} format={percent} />
      </section>
      <p class="muted">
        Drag over a plot to zoom, double-click to see all. Percentiles are interpolated within the buckets of a
        histogram.
      </p>
    </>
  );
}

function Tiles({ points }: { points: readonly Point[] }): JSX.Element {
  const now = points.at(-1);
  const bins = binned(points.slice(-180), 3);
  const then = points[0];
  const of = (name: SeriesName): (number | null)[] => points.map(({ values }) => values[name]);
  const course = (name: SeriesName): (number | null)[] => bins.map(({ values }) => values[name]);
  const perSecond = averageOf(of('messagesIn').slice(-5));
  const lastMinute = points.slice(-60);
  const failures = sumOf(lastMinute, () => true);
  const internal = sumOf(lastMinute, (code) => code === 'INTERNAL');
  const latency = of('p99').findLast((value) => value !== null);
  return (
    <section class="tiles" aria-label="Now">
      <Tile title="Sessions" value={count(now?.values.open)} values={course('open')}>
        {now !== undefined &&
          `${count(now.values.anonymous)} anonymous · ${change(now.values.open, then?.values.open)}`}
      </Tile>
      <Tile title="Messages per second" value={short(perSecond)} values={course('messagesIn')}>
        {`${short(averageOf(of('messagesOut').slice(-5)))} out`}
      </Tile>
      <Tile title="Latency, p99" value={ms(latency)} values={course('p99')}>
        {`p50 ${ms(of('p50').findLast((value) => value !== null))}`}
      </Tile>
      <Tile
        title="Failures in a minute"
        value={count(failures)}
        values={bins.map((point) => sumOf([point], () => true))}
      >
        <span class={internal > 0 ? 'bad' : ''}>{`${count(internal)} INTERNAL`}</span>
      </Tile>
      <Tile title="Event loop" value={percent(now?.values.loop)} values={course('loop')}>
        {`p99 +${ms(now?.values.loopDelay)} · ${bytes(now?.values.heap)} heap`}
      </Tile>
    </section>
  );
}

interface TileProps {
  readonly title: string;
  readonly value: string;
  readonly values: readonly (number | null)[];
  readonly children: ComponentChildren;
}

function Tile({ title, value, values, children }: TileProps): JSX.Element {
  return (
    <div class="card tile">
      <h2 class="muted">{title}</h2>
      <div class="value">{value}</div>
      <Spark values={values} />
      <div class="note">{children}</div>
    </div>
  );
}

function averageOf(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
}

/** What was refused or failed; a close is the end of what was told already. */
function sumOf(points: readonly Point[], isMeant: (code: string) => boolean): number {
  return points.reduce((sum, { codes }) => {
    const each = [...Object.entries(codes.refusals), ...Object.entries(codes.exceptions)];
    return sum + each.reduce((own, [code, number]) => own + (isMeant(code) ? number : 0), 0);
  }, 0);
}

function change(now: number | null | undefined, then: number | null | undefined): string {
  if (typeof now !== 'number' || typeof then !== 'number' || now === then) return 'as before';
  return now > then ? `▲ ${count(now - then)}` : `▼ ${count(then - now)}`;
}

/** A line for each code, the one that came most first. */
function codesOf(points: readonly Point[], kind: CodeKind): Line[] {
  const totals = new Map<string, number>();
  for (const { codes } of points)
    for (const [code, number] of Object.entries(codes[kind])) totals.set(code, (totals.get(code) ?? 0) + number);
  const names = [...totals].toSorted(([, a], [, b]) => b - a).map(([code]) => code);
  const own = names.slice(0, MAX_LINES);
  const lines = own.map((code): Line => ({
    label: code,
    values: points.map(({ values, codes }) => (values.open === null ? null : (codes[kind][code] ?? 0))),
  }));
  if (names.length <= MAX_LINES) return lines;
  const others = new Set(names.slice(MAX_LINES));
  const values = points.map(({ values: { open }, codes }) =>
    open === null
      ? null
      : Object.entries(codes[kind]).reduce((sum, [code, number]) => sum + (others.has(code) ? number : 0), 0),
  );
  return [...lines, { label: OTHERS, values }];
}
