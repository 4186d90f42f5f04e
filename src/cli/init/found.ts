// What init finds and writes.

/** One component as it will stand in lifeboat.yaml. Secrets are references; only a typed URL may hold a value. */
export interface Found {
  readonly name: string;
  readonly kind: string;
  readonly settings: Readonly<Record<string, unknown>>;
  /** Where it was seen. */
  readonly from: string;
}
