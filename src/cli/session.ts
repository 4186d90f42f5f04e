// What a command is given, and how it speaks: one JSON document on stdout with --json, else words for people.

import type { Command } from 'commander';
import { ERRORS, Failure, isFailure } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import type { Config } from './config/model.ts';

export interface Globals {
  readonly config?: string;
  readonly json: boolean;
  readonly logLevel: LogLevel;
  readonly progress?: 'json' | 'none';
}
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface Session {
  readonly ctx: Context;
  readonly globals: Globals;
  /** Reads the configuration once. */
  config(): Promise<Config>;
  /** A person sits at the terminal and can be asked. */
  readonly interactive: boolean;
  /**
   * The result, given once: `json` with --json, else the text. What is thrown after it becomes part of the JSON:
   * there is one document.
   */
  print(json: object, text: string | (() => string)): void;
  /** One of several answers, as soon as it is there: a line of JSON with --json, else the text. */
  tell(json: object, text: string): void;
  /** A remark beside the result; left out with --json. */
  note(text: string): void;
}

/** 0: done and verified as asked; 3: finished but incomplete, unknown or with findings. */
export type ExitCode = 0 | 3;
export type Action<Options> = (session: Session, options: Options, args: readonly string[]) => Promise<ExitCode>;

/** What a module in commands/ exports. */
export interface CommandModule {
  define(command: Command, bind: Bind): void;
}
/** Makes an action the command's own; options are those that the command declares. */
export type Bind = <Options>(command: Command, action: Action<Options>) => void;

export function exitCodeOf(error: unknown): number {
  return isFailure(error) ? ERRORS[error.code].exit : 1;
}

export function errorJson(error: unknown): { error: { code: string; message: string; hint?: string } } {
  if (error instanceof Failure) {
    return { error: { code: error.code, message: error.message, ...(error.hint ? { hint: error.hint } : {}) } };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { error: { code: 'internal', message } };
}
