import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { JSX } from 'preact';
import uPlot from 'uplot';
import { POINTS } from '../wire.js';
import { clock, NONE, short, time } from './format.js';
import { Head } from './table.js';

export interface Line {
  readonly label: string;
  readonly values: readonly (number | null)[];
}

interface PlotProps {
  readonly title: string;
  readonly times: readonly number[];
  readonly lines: readonly Line[];
  readonly format?: (value: number | null | undefined) => string;
  readonly isLog?: boolean;
  /** Bars on top of each other. */
  readonly isStacked?: boolean;
  /** A line that leads somewhere. */
  readonly onPick?: (label: string) => void;
}

const COLOURS = ['--c1', '--c2', '--c3', '--c4', '--c5', '--c6'] as const;
/** A second sign beside colour. */
const DASHES: readonly (readonly number[])[] = [[], [6, 4], [2, 3], [10, 3, 2, 3], [1, 3], [12, 5]];
const HEIGHT = 168;
const SYNC = uPlot.sync('console');

let zoom: { min: number; max: number } | undefined;
const zoomListeners = new Set<() => void>();
function setZoom(next: typeof zoom): void {
  zoom = next;
  for (const listener of zoomListeners) listener();
}

/** What a colour of the theme is now: a canvas knows nothing of light-dark(). */
function colourOf(name: string): string {
  const probe = document.createElement('span');
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** Changes with the theme, so that plots are drawn anew. */
function useTheme(): number {
  const [turn, set] = useState(0);
  useEffect(() => {
    const changed = (): void => set((before) => before + 1);
    const media = matchMedia('(prefers-color-scheme: dark)');
    media.addEventListener('change', changed);
    addEventListener('theme', changed);
    return () => {
      media.removeEventListener('change', changed);
      removeEventListener('theme', changed);
    };
  }, []);
  return turn;
}

/** A step line for each code, each on top of those before. */
function stacked(lines: readonly Line[]): (number | null)[][] {
  const sums: (number | null)[][] = [];
  lines.forEach(({ values }, index) => {
    sums.push(values.map((value, at) => (value === null ? null : value + (sums[index - 1]?.[at] ?? 0))));
  });
  return sums;
}

/** Lines over the last 15 minutes. The cursor is that of all plots; drag to zoom, double click to see all; one key away is the table. */
export function Plot({
  title,
  times,
  lines,
  format = short,
  isLog = false,
  isStacked = false,
  onPick,
}: PlotProps): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const [isTable, setTable] = useState(false);
  const [cursor, setCursor] = useState<number | undefined>(undefined);
  const theme = useTheme();
  const labels = lines.map(({ label }) => label).join();

  const data = useMemo<uPlot.AlignedData>(() => {
    const seconds = times.map((at) => at / 1_000);
    // The highest is drawn first, and those below it over it.
    const columns = isStacked ? stacked(lines).toReversed() : lines.map(({ values }) => [...values]);
    return [seconds, ...columns] as unknown as uPlot.AlignedData; // because all are as long
  }, [times, lines]);

  useEffect(() => {
    const element = place.current;
    if (element === null || isTable) return undefined;
    const [grid, muted] = [colourOf('--grid'), colourOf('--muted')];
    const axis: uPlot.Axis = {
      stroke: muted,
      grid: { stroke: grid, width: 1 },
      ticks: { show: false },
      font: '11px system-ui, sans-serif',
    };
    const made: uPlot = new uPlot(
      {
        width: element.clientWidth,
        height: HEIGHT,
        padding: [8, 6, 0, 0],
        legend: { show: false },
        cursor: {
          y: false,
          sync: { key: SYNC.key, setSeries: false },
          drag: { x: true, y: false, setScale: false },
          points: { size: 6 },
        },
        scales: {
          x: { time: true, range: (u) => [zoom?.min ?? firstOf(u), zoom?.max ?? lastOf(u)] },
          y: isLog
            ? { distr: 3, range: (_, min, max) => [Math.max(0.05, (min ?? 0.1) * 0.8), Math.max(1, (max ?? 1) * 1.3)] }
            : { range: (_, __, max) => [0, Math.max(1e-9, max ?? 0) > 1e-9 ? max * 1.12 : 1] },
        },
        axes: [
          { ...axis, size: 24, space: 70, values: (_, splits) => splits.map((split) => clock(split * 1_000)) },
          {
            ...axis,
            size: 52,
            space: 34,
            values: (_, splits) => splits.map((split) => (split === null ? null : format(split))),
            ...(isLog && {
              filter: (_: uPlot, splits: number[]) =>
                splits.map((split) => (/^0?\.?0*[15]0*$/.test(String(split)) ? split : null)) as number[],
            }),
          },
        ],
        series: [
          {},
          ...(isStacked ? lines.map((_, index) => barOf(index)).toReversed() : lines.map((_, index) => lineOf(index))),
        ],
        hooks: {
          setCursor: [(u) => setCursor(u.cursor.idx ?? undefined)],
          setSelect: [
            (u) => {
              if (u.select.width < 6) return;
              setZoom({ min: u.posToVal(u.select.left, 'x'), max: u.posToVal(u.select.left + u.select.width, 'x') });
              u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            },
          ],
        },
      },
      data,
      element,
    );
    plot.current = made;
    const redraw = (): void => made.setData(made.data, true);
    const all = (): void => setZoom(undefined);
    zoomListeners.add(redraw);
    made.over.addEventListener('dblclick', all);
    const sizes = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    sizes.observe(element);
    return () => {
      sizes.disconnect();
      zoomListeners.delete(redraw);
      made.destroy();
      plot.current = undefined;
    };
  }, [labels, theme, isTable, isLog]);

  useEffect(() => plot.current?.setData(data, true), [data]);

  const at = cursor ?? times.length - 1;
  const summary = `${title}: ${lines.length === 0 ? 'nothing in the last 15 minutes' : lines.map((line) => spoken(line, times, format)).join('; ')}`;
  const move = (event: KeyboardEvent): void => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const made = plot.current;
    if (step === undefined || made === undefined) return;
    event.preventDefault();
    const next = Math.min(times.length - 1, Math.max(0, at + step));
    made.setCursor({ left: made.valToPos((times[next] ?? 0) / 1_000, 'x'), top: 20 });
  };

  return (
    <figure class="card">
      <div class="head">
        <h2 class="grow">{title}</h2>
        {cursor !== undefined && times[at] !== undefined && <span class="muted mono">{time(times[at])}</span>}
        <button type="button" class="quiet" aria-pressed={isTable} onClick={() => setTable(!isTable)}>
          Table
        </button>
      </div>
      {isTable ? (
        <PlotTable title={title} times={times} lines={lines} format={format} />
      ) : (
        <div class="canvas" ref={place} role="img" aria-label={summary} tabIndex={0} onKeyDown={move} />
      )}
      <ul class="legend">
        {lines.map((line, index) => {
          const value = <b>{format(line.values[at])}</b>;
          const mark = <Mark index={index} isBar={isStacked} />;
          return (
            <li key={line.label}>
              {onPick === undefined ? (
                <>
                  {mark} <span class="muted">{line.label}</span> {value}
                </>
              ) : (
                <button type="button" onClick={() => onPick(line.label)} title={`Failures with ${line.label}`}>
                  {mark} <span class="muted">{line.label}</span> {value}
                </button>
              )}
            </li>
          );
        })}
        {lines.length === 0 && <li class="muted">None in the last 15 minutes</li>}
      </ul>
    </figure>
  );
}

function lastOf({ data: [seconds] }: uPlot): number {
  return seconds[seconds.length - 1] ?? Date.now() / 1_000;
}

/** The window is 15 minutes, and what there is of them in the first ones; at least two. */
function firstOf(u: uPlot): number {
  const last = lastOf(u);
  return Math.max(last - POINTS, Math.min(u.data[0][0] ?? last, last - 120));
}

/** Points without a neighbour, which a line does not show. */
function lonely(values: ArrayLike<number | null | undefined> | undefined): number[] {
  const isKnown = (index: number): boolean => typeof values?.[index] === 'number';
  return Array.from({ length: values?.length ?? 0 }, (_, at) => at).filter(
    (at) => isKnown(at) && !isKnown(at - 1) && !isKnown(at + 1),
  );
}

function lineOf(index: number): uPlot.Series {
  const stroke = colourOf(nameOf(index));
  return {
    stroke,
    width: 1.75,
    dash: [...(DASHES[index % DASHES.length] ?? [])],
    points: { show: true, size: 4, fill: stroke, filter: (u, at) => lonely(u.data[at]) },
    spanGaps: false,
  };
}

function barOf(index: number): uPlot.Series {
  const fill = hatched(colourOf(nameOf(index)), colourOf('--card'), index);
  return {
    stroke: colourOf('--card'),
    width: 0.5,
    fill: () => fill,
    points: { show: false },
    ...(uPlot.paths.bars !== undefined && { paths: uPlot.paths.bars({ size: [0.92, 60, 1], align: 1 }) }),
  };
}

/** What is cut out of the colour of a bar, in a tile of 6 by 6: a second sign beside colour. */
const HATCHES = ['', 'M0 6L6 0M-1 1L1 -1M5 7L7 5', 'M0 3H6', 'M3 0V6', 'M0 0L6 6M0 6L6 0', 'M2 3H4M3 2V4'] as const;
const TILE = 6;

function hatched(colour: string, gap: string, index: number): CanvasPattern | string {
  const hatch = HATCHES[index % HATCHES.length];
  if (!hatch) return colour;
  const tile = new OffscreenCanvas(TILE, TILE);
  const brush = tile.getContext('2d');
  if (brush === null) return colour;
  brush.fillStyle = colour;
  brush.fillRect(0, 0, TILE, TILE);
  brush.strokeStyle = gap;
  brush.lineWidth = 1.2;
  brush.stroke(new Path2D(hatch));
  return brush.createPattern(tile, 'repeat') ?? colour;
}

function nameOf(index: number): string {
  return COLOURS[index % COLOURS.length] ?? '--c1';
}

function Mark({ index, isBar }: { index: number; isBar: boolean }): JSX.Element {
  const colour = `var(${nameOf(index)})`;
  if (!isBar) {
    const dashes = (DASHES[index % DASHES.length] ?? []).join(' ');
    return (
      <svg viewBox="0 0 18 8" aria-hidden="true">
        <line x1="0" y1="4" x2="18" y2="4" stroke={colour} stroke-width="2.5" stroke-dasharray={dashes} />
      </svg>
    );
  }
  const tiles = [0, 1, 2].map((at) => (
    <path key={at} d={HATCHES[index % HATCHES.length]} transform={`translate(${at * TILE} 1)`} />
  ));
  return (
    <svg viewBox="0 0 18 8" aria-hidden="true">
      <rect width="18" height="8" rx="1.5" fill={colour} />
      <g stroke="var(--card)" stroke-width="1.2">
        {tiles}
      </g>
    </svg>
  );
}

function spoken(
  { label, values }: Line,
  times: readonly number[],
  format: (value: number | null | undefined) => string,
): string {
  let peak = -1;
  values.forEach((value, index) => {
    if (value !== null && (peak === -1 || value > (values[peak] ?? -Infinity))) peak = index;
  });
  const highest = peak === -1 ? '' : `, peak ${format(values[peak])} at ${clock(times[peak] ?? 0)}`;
  return `${label}, now ${format(values.at(-1))}${highest}`;
}

/** The last minutes, a row for each, with the highest of each. */
function PlotTable({
  title,
  times,
  lines,
  format,
}: Required<Pick<PlotProps, 'title' | 'times' | 'lines' | 'format'>>): JSX.Element {
  const rows = minutesOf(times);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={`${title}, as a table`}>
      <table>
        <thead>
          <Head names={['Minute']} numbers={lines.map(({ label }) => label)} />
        </thead>
        <tbody>
          {rows.map(([minute, from, to]) => (
            <tr key={minute}>
              <td class="mono">{minute}</td>
              {lines.map(({ label, values }) => {
                const known = values.slice(from, to).filter((value) => value !== null);
                return (
                  <td class="end" key={label}>
                    {known.length === 0 ? NONE : format(Math.max(...known))}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function minutesOf(times: readonly number[]): [minute: string, from: number, to: number][] {
  const rows: [string, number, number][] = [];
  times.forEach((at, index) => {
    const last = rows.at(-1);
    const minute = clock(at);
    if (last?.[0] === minute) last[2] = index + 1;
    else rows.push([minute, index, index + 1]);
  });
  return rows.toReversed();
}

/** The course of a number, without axes. */
export function Spark({ values }: { values: readonly (number | null)[] }): JSX.Element {
  const known = values.map((value) => value ?? 0);
  const max = Math.max(1e-9, ...known);
  const step = 100 / Math.max(1, known.length - 1);
  const points = known
    .map((value, index) => `${(index * step).toFixed(1)},${(25 - (value / max) * 23).toFixed(1)}`)
    .join(' ');
  return (
    <svg class="spark" viewBox="0 0 100 26" preserveAspectRatio="none" aria-hidden="true">
      <polyline
        points={points}
        fill="none"
        stroke="currentColor"
        stroke-width="1.5"
        vector-effect="non-scaling-stroke"
      />
    </svg>
  );
}
