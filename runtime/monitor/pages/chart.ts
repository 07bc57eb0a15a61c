/**
 * A line over a day. uPlot draws it; what it shows is said in words beside it, because a canvas has none. Colours are those of
 * the page, in light and dark.
 */
import { type ComponentChild, h } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import type { Line } from '../series.ts';
import { short } from './parts.ts';

const HEIGHT = 150;
const DAY_S = 24 * 60 * 60;

interface ChartProps {
  readonly title: string;
  readonly line: Line;
  /** the end of the day that is shown, in seconds by the clock of the line's times */
  readonly until: number;
}

export function Chart({ title, line, until }: ChartProps): ComponentChild {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | undefined>(undefined);
  const latest = useRef({ line, until });
  latest.current = { line, until };
  useEffect(() => {
    const node = place.current!;
    const draw = () => {
      chart.current?.destroy();
      chart.current = plot(node, latest.current);
    };
    draw();
    const dark = matchMedia('(prefers-color-scheme: dark)');
    dark.addEventListener('change', draw);
    const resized = new ResizeObserver(() =>
      chart.current?.setSize({ width: node.clientWidth, height: HEIGHT }),
    );
    resized.observe(node);
    return () => {
      dark.removeEventListener('change', draw);
      resized.disconnect();
      chart.current?.destroy();
    };
  }, []);
  useEffect(() => {
    const { current } = chart;
    if (!current) return;
    current.batch(() => {
      current.setData([line.times as number[], line.values as number[]], false);
      current.setScale('x', { min: until - DAY_S, max: until });
    });
  }, [line, until]);
  const values = line.values.filter((value) => value !== null);
  const now = values.at(-1) ?? 0;
  const most = values.reduce((high, value) => Math.max(high, value), 0);
  return h(
    'figure',
    { class: 'chart' },
    h('figcaption', {}, h('strong', {}, title), ` now ${short(now)}, most in a day ${short(most)}`),
    h('div', {
      ref: place,
      class: 'plot',
      role: 'img',
      'aria-label': `${title} over a day: now ${short(now)}, most ${short(most)}`,
    }),
  );
}

function plot(node: HTMLElement, { line }: Pick<ChartProps, 'line'>): uPlot {
  const style = getComputedStyle(node);
  const color = (name: string) => style.getPropertyValue(name).trim();
  const grid = { stroke: color('--line'), width: 1 };
  const axis = { stroke: color('--soft'), font: '11px system-ui, sans-serif', grid, ticks: grid };
  return new uPlot(
    {
      width: node.clientWidth || 300,
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      padding: [8, 8, 0, 0],
      scales: {
        x: { time: true, range: (_, min, max) => [min, max] },
        y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] },
      },
      axes: [
        {
          ...axis,
          space: 60,
          values: (_, times) =>
            times.map((time) =>
              new Date(time * 1000).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' }),
            ),
        },
        { ...axis, size: 46, space: 34, values: (_, values) => values.map(short) },
      ],
      series: [
        {},
        {
          stroke: color('--fill'),
          fill: color('--busy-back'),
          width: 1.5,
          spanGaps: false,
          points: { show: false },
        },
      ],
    },
    [line.times as number[], line.values as number[]],
    node,
  );
}
