// Which of zod's findings tells a person what is wrong.

import type { z } from 'zod';

type Issue = z.core.$ZodIssue;

/**
 * An unknown key is most often a misspelt one, and then the missing one is only its consequence. Where a value may have
 * several forms, the one that it comes nearest to is meant.
 */
export function tellingIssue(issues: readonly Issue[]): Issue | undefined {
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0];
  if (issue?.code !== 'invalid_union') return issue;
  const forms = issue.errors.flatMap((each) => {
    const told = tellingIssue(each);
    return told ? [{ ...told, path: [...issue.path, ...told.path] }] : [];
  });
  const [first, ...others] = forms;
  if (!first) return issue;
  const nearest = others.reduce((best, each) => (depthOf(each) > depthOf(best) ? each : best), first);
  if (depthOf(nearest) > issue.path.length) return nearest;
  return { ...issue, message: [...new Set(forms.map(messageOf))].join(', or ') };
}

/** Zod's own words begin with what goes without saying, and call what is not there undefined. */
export function messageOf(issue: Issue): string {
  if (isMissing(issue)) return 'this key is missing';
  const text = issue.message.replace(/^Invalid input: /, '');
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/** A key that has to be there is not. */
export function isMissing({ code, message }: Issue): boolean {
  return code === 'invalid_type' && message.endsWith('received undefined');
}

/** How far into the value all was well. */
function depthOf({ code, path }: Issue): number {
  return path.length + (code === 'unrecognized_keys' ? 1 : 0);
}
