// Rules about what must fit together, and is captured so that it can't.

import type { Found, ReferenceSetup, Setup } from './setup.ts';

/** What is pointed to may be captured before what points to it. */
export function* referencesUnordered({ plans, references }: Setup): Generator<Found> {
  for (const { name, components, inOrder } of plans) {
    const own = references.filter(({ from, to }) => from !== to && [from, to].every((end) => components.includes(end)));
    const [first] = own;
    // Those that point to one another have no order.
    if (
      !first ||
      inOrder ||
      own.some((each) => own.some((other) => each.from === other.to && each.to === other.from))
    ) {
      continue;
    }
    yield {
      at: ['plans', name],
      why:
        `${first.to} may be captured before ${first.from}, which points to it: what is made in between is in the one ` +
        `and not in the other, and "${first.name}" fails after a restore`,
      change: [{ path: ['plans', name, 'ordering'], to: 'references_first' }],
    };
  }
}

/** Both ends are never in one point. */
export function* referencesApart({ plans, references }: Setup): Generator<Found> {
  for (const reference of references) {
    const { name, from, to } = reference;
    if (plans.length === 0 || plans.some(({ components }) => [from, to].every((end) => components.includes(end))))
      continue;
    yield {
      at: ['references'],
      why:
        `no plan captures ${from} and ${to} into one point, so that "${name}" never holds of one and is unknown in ` +
        'drills',
      change: together(plans, reference),
      advice: 'or give both a plan of their own',
    };
  }
}

function together(plans: Setup['plans'], { from, to }: ReferenceSetup): Found['change'] {
  const plan =
    plans.find(({ components }) => components.includes(from)) ??
    plans.find(({ components }) => components.includes(to));
  if (!plan) return [];
  const missing = [from, to].filter((end) => !plan.components.includes(end));
  return [{ path: ['plans', plan.name, 'components'], to: [...plan.components, ...missing] }];
}
