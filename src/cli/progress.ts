// Progress for people: one line for each task, redrawn in place, with bytes, rate and the time left.

import type { Progress } from '../core/model.ts';
import { bytesText, countText, durationText, printable } from './terminal.ts';

const REDRAW_MS = 100;
/** The rate is that of the last seconds, so that a slow start is soon forgotten. */
const RATE_WINDOW_MS = 5_000;
const [BAR_MIN, BAR_MAX] = [4, 20];

export interface ProgressView {
  show(event: Progress): void;
  /** Takes the lines away, so that other text can be printed. */
  clear(): void;
}

interface Line {
  event: Progress;
  samples: { at: number; bytes: number }[];
}

export function jsonProgress(write: (text: string) => void, now: () => Date): ProgressView {
  const snake = (event: Progress): Record<string, unknown> => ({
    time: now().toISOString(),
    task: event.task,
    phase: event.phase,
    bytes: event.bytes,
    bytes_total: event.bytesTotal,
    items: event.items,
    items_total: event.itemsTotal,
    up_to: event.upTo,
    note: event.note,
  });
  return { show: (event) => write(`${JSON.stringify(snake(event))}\n`), clear: () => undefined };
}

export function terminalProgress(
  out: { write(text: string): void; readonly columns?: number },
  clock: () => number,
): ProgressView {
  const lines = new Map<string, Line>();
  let drawn = 0;
  let drawnAt = Number.NEGATIVE_INFINITY;

  function erase(): void {
    if (drawn > 0) out.write(`\u001b[${drawn}A\u001b[0J`);
    drawn = 0;
  }
  function draw(): void {
    erase();
    const width = out.columns || 80; // some terminals say 0 when they do not know
    for (const line of lines.values()) {
      out.write(`${lineText(line, width - 1)}\n`);
      drawn += 1;
    }
    drawnAt = clock();
  }
  return {
    show(event) {
      const line = lines.get(event.task);
      if (line && line.event.phase === event.phase) line.event = event;
      else lines.set(event.task, { event, samples: [] });
      sample(lines.get(event.task), clock());
      if (clock() - drawnAt >= REDRAW_MS) draw();
    },
    clear() {
      erase();
      lines.clear();
    },
  };
}

export const silentProgress: ProgressView = { show: () => undefined, clear: () => undefined };

function sample(line: Line | undefined, at: number): void {
  if (line?.event.bytes === undefined) return;
  line.samples.push({ at, bytes: line.event.bytes });
  while (line.samples.length > 2 && at - (line.samples[0]?.at ?? at) > RATE_WINDOW_MS) line.samples.shift();
}

/** Bytes per second over the window; null while there is no telling. */
function rateOf({ samples }: Line): number | null {
  const [first, last] = [samples[0], samples.at(-1)];
  if (!first || !last || last.at - first.at < 500) return null;
  return ((last.bytes - first.bytes) * 1000) / (last.at - first.at);
}

/** What tells most is never cut off for the bar, which takes what room is left. */
function lineText(line: Line, width: number): string {
  const { task, phase, bytes, bytesTotal, items, itemsTotal } = line.event;
  const head = `  ${printable(task).padEnd(10)} ${phase.padEnd(8)}`;
  const parts: string[] = [];
  const share = bytesTotal ? (bytes ?? 0) / bytesTotal : itemsTotal ? (items ?? 0) / itemsTotal : null;
  if (share !== null) parts.push(`${Math.floor(Math.min(1, share) * 100)}%`.padStart(4));
  if (bytes !== undefined)
    parts.push(bytesTotal ? `${bytesText(bytes)} of ${bytesText(bytesTotal)}` : bytesText(bytes));
  if (items !== undefined && (itemsTotal || bytes === undefined))
    parts.push(itemsTotal ? `${countText(items)} of ${countText(itemsTotal)}` : countText(items));
  const rate = rateOf(line);
  if (rate !== null) parts.push(`${bytesText(rate)}/s`);
  if (rate !== null && rate > 0 && bytesTotal !== undefined && bytes !== undefined && bytesTotal > bytes) {
    parts.push(`${durationText(((bytesTotal - bytes) / rate) * 1000)} left`);
  }
  if (line.event.note !== undefined) parts.push(printable(line.event.note));
  const text = parts.join('  ');
  const room = Math.min(BAR_MAX, width - head.length - text.length - 4);
  const shown = share !== null && room >= BAR_MIN ? [head, bar(Math.min(1, share), room), text] : [head, text];
  return shown.join('  ').slice(0, width);
}

function bar(share: number, width: number): string {
  const full = Math.round(share * width);
  return `${'█'.repeat(full)}${'░'.repeat(width - full)}`;
}
