// What a capture has to say about some of its files, however many they are.

const WARNINGS_MAX = 100;

export interface Warnings {
  add(text: string): void;
  list(): string[];
}

export function warningList(): Warnings {
  const texts: string[] = [];
  let more = 0;
  return {
    add: (text) => void (texts.length < WARNINGS_MAX ? texts.push(text) : (more += 1)),
    list: () => (more === 0 ? texts : [...texts, `and ${more} more of that kind`]),
  };
}

export function othersText(count: number): string {
  return count === 1 ? '1 socket, pipe or device is' : `${count} sockets, pipes or devices are`;
}
