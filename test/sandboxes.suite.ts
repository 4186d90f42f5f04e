// A driver's server started as a sandbox: what a drill stands on. It starts empty, nobody else gets to it, and nothing
// is left of it.

import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { delimiter, dirname } from 'node:path';
import { test } from 'node:test';
import type { Driver } from '../src/core/driver.ts';
import { liveContext } from '../src/core/testing.ts';
import { processSandboxes } from '../src/sandboxes/process/runner.ts';
import { installed, type ServerName } from './servers/install.ts';
import { missing } from './servers/need.ts';

export interface SandboxedServer {
  readonly driver: Driver;
  /** As a point says it. */
  readonly version: string;
  readonly server: ServerName | null;
  /** Where the driver finds the program; its directory in PATH unless told otherwise. */
  readonly env?: (path: string) => Readonly<Record<string, string>>;
}

export async function sandboxTest({ driver, version, server, env }: SandboxedServer): Promise<void> {
  test(`a sandbox for ${driver.kind} ${version} starts empty, on 127.0.0.1 alone, and is gone afterwards`, {
    skip: server ? await missing(server) : false,
  }, async () => {
    const path = server ? await installed(server) : '';
    const inPath = { PATH: [server?.startsWith('postgres') ? path : dirname(path), process.env.PATH].join(delimiter) };
    const ctx = liveContext({ env: { ...process.env, ...inPath, ...env?.(path) } });
    let dir: string;
    {
      await using sandbox = await processSandboxes({ readyMs: 120_000 }).start(ctx, driver, version);
      dir = sandbox.dir;
      const probe = await sandbox.component.probe(ctx);
      assert.equal(probe.holdsData, null);
      const major = (text: string): string => text.replace(/^\D+/, '').split('.')[0] ?? '';
      if (/\d/.test(version)) assert.equal(major(probe.version), major(version), 'of the major that was asked for');
      const listening = listenersOf(dir);
      assert.ok(server === null || listening.length > 0, 'its ports are found');
      assert.deepEqual(
        listening.filter((address) => !isLoopback(address)),
        [],
      );
    }
    assert.ok(!existsSync(dir));
    assert.deepEqual(processesOf(dir), []);
  });
}

/** By their command line, their directory or their environment. */
function processesOf(dir: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return false;
    try {
      const told = ['cmdline', 'environ'].map((file) => readFileSync(`/proc/${pid}/${file}`, 'utf8')).join();
      return told.includes(dir) || readlinkSync(`/proc/${pid}/cwd`).startsWith(dir);
    } catch {
      return false; // it has ended meanwhile
    }
  });
}

/** Addresses of their listening sockets, in the kernel's own hexadecimal words. */
function listenersOf(dir: string): string[] {
  const sockets = new Set(
    processesOf(dir).flatMap((pid) =>
      readdirSync(`/proc/${pid}/fd`).flatMap(
        (fd) => /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${fd}`))?.[1] ?? [],
      ),
    ),
  );
  return ['tcp', 'tcp6']
    .flatMap((kind) => readFileSync(`/proc/net/${kind}`, 'utf8').trim().split('\n').slice(1))
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state, , , , , , inode = '']) => state === '0A' && sockets.has(inode))
    .map(([, address = '']) => address);
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ''; // closed meanwhile
  }
}

/** 127.0.0.0/8, also as an IPv6 address, and ::1. */
function isLoopback(address: string): boolean {
  return /^(?:0{16}FFFF0000)?[0-9A-F]{6}7F:|^0{24}01000000:/.test(address);
}
