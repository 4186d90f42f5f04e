// The little XML that S3 answers with. Nothing is resolved and nothing is looked up: the answer may be hostile.

import { Failure } from '../../core/errors.ts';

const DEPTH_MAX = 32;
const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

export interface Element {
  /** Without its namespace. */
  readonly name: string;
  readonly children: Element[];
  /** Of an element without children. */
  text: string;
}

/** The outermost element; 'malformed' for what is no XML. */
export function parseXml(source: string): Element {
  const root: Element = { name: '', children: [], text: '' };
  const open: Element[] = [root];
  let at = source.indexOf('<');
  while (at >= 0) {
    const end = source.startsWith('<!--', at) ? source.indexOf('-->', at) + 2 : source.indexOf('>', at);
    if (end < at) throw broken('a tag has no end');
    const tag = source.slice(at + 1, end);
    const next = source.indexOf('<', end);
    const top = open.at(-1);
    if (!top) throw broken('more is closed than was opened');
    if (tag.startsWith('/')) {
      if (open.length === 1 || bare(tag.slice(1)) !== top.name) throw broken(`${tag} closes what is not open`);
      open.pop();
    } else if (!tag.startsWith('?') && !tag.startsWith('!')) {
      const element: Element = { name: bare(tag), children: [], text: '' };
      top.children.push(element);
      if (!tag.endsWith('/')) {
        element.text = unescaped(source.slice(end + 1, next < 0 ? undefined : next));
        open.push(element);
      }
      if (open.length > DEPTH_MAX) throw broken('it is too deep');
    } else if (tag.startsWith('!') && !tag.startsWith('!--')) throw broken('it declares things of its own');
    at = next;
  }
  const [outermost] = root.children;
  if (open.length !== 1 || !outermost || root.children.length > 1) throw broken('it does not end');
  return outermost;
}

export function childOf(element: Element, name: string): Element | undefined {
  return element.children.find((child) => child.name === name);
}

/** '' when there is none. */
export function textIn(element: Element, name: string): string {
  return childOf(element, name)?.text ?? '';
}

export function childrenOf(element: Element, name: string): Element[] {
  return element.children.filter((child) => child.name === name);
}

/** The same text for the same content, whatever the layout and the namespaces. */
export function canonicalXml({ name, children, text }: Element): string {
  const inner = children.length > 0 ? children.map(canonicalXml).join('') : escapeXml(text.trim());
  return `<${name}>${inner}</${name}>`;
}

export function escapeXml(text: string): string {
  return text.replace(/[<>&"'\r]/g, (char) => `&#${char.charCodeAt(0)};`);
}

function bare(tag: string): string {
  const [, name] = /^(?:[\w.-]+:)?([\w.-]+)/.exec(tag) ?? [];
  if (name === undefined) throw broken('a tag has no name');
  return name;
}

function unescaped(text: string): string {
  if (!text.includes('&')) return text;
  return text.replace(/&(#x?[0-9a-fA-F]+|\w+);/g, (whole, name: string) => {
    if (!name.startsWith('#')) return ENTITIES[name] ?? whole;
    const code = name.startsWith('#x') ? Number.parseInt(name.slice(2), 16) : Number.parseInt(name.slice(1), 10);
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}

function broken(why: string): Failure {
  return new Failure('malformed', `an answer is no XML: ${why}`);
}
