// What the server runs for each file of the log that it wants, with the file's name and where it goes. PostgreSQL takes
// an exit code up to 125 for 'there is none', which ends the log: all that is not known to be so exits with 255.

import { ABSENT, BEAT, ENDED, FAILED, KEPT, SPOOL, WANTED } from './names.ts';

/** `lifeboat wal-fetch` exits so where there is no such file. */
const NOT_THERE = 3;
/** In pauses of 20 ms. */
const QUIET_MAX = 3000;

/** From a process that puts files into the spool as long as it lives. */
export function waitingScript(): string {
  return `# Lifeboat hands the log over: waits for one file of it.
spool='${SPOOL}'
case "$1" in *.history) cp "$spool/$1${KEPT}" "$2" 2> /dev/null; exit ;; esac
: > "$spool/$1${WANTED}"
last= quiet=0
until mv "$spool/$1" "$2" 2> /dev/null; do
  if [ -e "$spool/$1${ABSENT}" ] || [ -e "$spool/${ENDED}" ]; then
    mv "$spool/$1" "$2" 2> /dev/null && break
    exit 1
  fi
  if [ -e "$spool/${FAILED}" ]; then
    cat "$spool/${FAILED}" >&2
    exit 255
  fi
  beat=
  read -r beat < "$spool/${BEAT}"
  if [ "$beat" = "$last" ]; then quiet=$((quiet + 1)); else quiet=0 last=$beat; fi
  if [ "$quiet" -gt ${QUIET_MAX} ]; then
    echo 'lifeboat: nobody hands the log over any more' >&2
    exit 255
  fi
  sleep 0.02
done
rm -f "$spool/$1${WANTED}"
`;
}

/** By a command that fetches it. */
export function fetchingScript(words: readonly string[]): string {
  return `# Lifeboat fetches one file of the log.
${fetching(words)}
echo "lifeboat: the log was not fetched (exit code $code)" >&2
exit 255
`;
}

/**
 * Where a server has stood before: what it needs to come back to that lies in its spool or is its own already, and only
 * what does not is fetched. Who starts it may not be able to; then histories are those that were known.
 */
export function leftScript(words: readonly string[]): string {
  return `# Lifeboat has left this: gives one file of the log that does not lie here.
case "$1" in *.history) ;; *) [ -e "pg_wal/$1" ] && exit 1 ;; esac
${words.length > 0 ? fetching(words) : 'code=none'}
case "$1" in *.history) cp "${SPOOL}/$1${KEPT}" "$2" 2> /dev/null; exit ;; esac
echo "lifeboat: the log was not fetched (exit code $code)" >&2
exit 255
`;
}

function fetching(words: readonly string[]): string {
  return `${words.map(shellWord).join(' ')} --spool '${SPOOL}' "$1" "$2"
code=$?
case $code in
0) exit 0 ;;
${NOT_THERE}) exit 1 ;;
esac`;
}

export function shellWord(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
