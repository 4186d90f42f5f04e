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

/** Zod's own words begin with what goes without saying. */
export function messageOf({ message }: Issue): string {
  const text = message.replace(/^Invalid input: /, '');
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/** How far into the value all was well. */
function depthOf({ code, path }: Issue): number {
  return path.length + (code === 'unrecognized_keys' ? 1 : 0);
}
