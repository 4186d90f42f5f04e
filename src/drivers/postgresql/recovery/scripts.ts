// What the server runs for each file of the log that it wants, with the file's name and where it goes. PostgreSQL takes
// an exit code up to 125 for 'there is none', which ends the log: all that is not known to be so exits with 255.

import { ABSENT, BEAT, COMING, ENDED, FAILED, FIRST, KEPT, SERVING, SPOOL, WANTED } from './names.ts';

/** `lifeboat wal-fetch` exits so where there is no such file. */
const NOT_THERE = 3;
/** In pauses of 20 ms. */
const QUIET_MAX = 3000;
/** The same, of who is to fill the folder and may have to start first: then the server fetches by itself. */
const COMING_QUIET_MAX = 500;
/** Of one who has told that he is there. */
const SERVING_QUIET_MAX = 150;

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

/** What lies there, is coming, or is fetched by a command. */
export function fetchingScript(words: readonly string[]): string {
  return `# Lifeboat gives the server one file of its log.
${fetching(words)}
${NOT_FETCHED}
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
${words.length > 0 ? fetching(words) : `mv "${SPOOL}/$1${FIRST}" "$2" 2> /dev/null && exit 0\ncode=none`}
case "$1" in *.history) cp "${SPOOL}/$1${KEPT}" "$2" 2> /dev/null; exit ;; esac
${NOT_FETCHED}
exit 255
`;
}

/**
 * A server that is the first process of its container adopts who fills the folder, and takes a bad end of that for a
 * crash of its own: a shell that ends well stands between.
 */
function fetching(words: readonly string[]): string {
  return `spool='${SPOOL}'
wal_fetch() {
  ${words.map(shellWord).join(' ')} --spool "$spool" "$@"
}
fill() {
  for each in "$spool"/*${COMING}; do
    [ -e "$each" ] || return 0
    each=\${each##*/}
    (
      trap '' HUP INT QUIT TERM
      wal_fetch --ahead "\${each%${COMING}}" "$1" || rm -f "$spool"/*${COMING} "$spool/${SERVING}"
      exit 0
    ) < /dev/null > /dev/null 2>&1 &
    return 0
  done
}
# As long as the third file changes in so many looks, and until there is the fifth, if one is told.
wait_for() {
  last= quiet=0
  while [ -e "$3" ] && [ "$quiet" -le "$4" ]; do
    mv "$spool/$1" "$2" 2> /dev/null && exit 0
    [ -n "$5" ] && [ -e "$5" ] && exit 1
    beat=
    read -r beat 2> /dev/null < "$3"
    if [ "$beat" = "$last" ]; then quiet=$((quiet + 1)); else quiet=0 last=$beat; fi
    sleep 0.02
  done
  mv "$spool/$1" "$2" 2> /dev/null && exit 0
}
case "$1" in
00000001.history) exit 1 ;; # there is none, of any server
*.history) ;;
*)
  if mv "$spool/$1${FIRST}" "$2" 2> /dev/null; then
    fill "$2"
    exit 0
  fi
  wait_for "$1" "$2" "$spool/$1${COMING}" ${COMING_QUIET_MAX}
  ;;
esac
if [ -e "$spool/${SERVING}" ]; then
  rm -f "$spool/$1${ABSENT}"
  : > "$spool/$1${WANTED}"
  wait_for "$1" "$2" "$spool/${SERVING}" ${SERVING_QUIET_MAX} "$spool/$1${ABSENT}"
  rm -f "$spool/$1${WANTED}"
fi
wal_fetch "$1" "$2"
code=$?
case $code in
0)
  case "$1" in *.history) ;; *) fill "$2" ;; esac
  exit 0
  ;;
${NOT_THERE}) exit 1 ;;
esac`;
}

const NOT_FETCHED =
  'echo "lifeboat: the log was not fetched (exit code $code): mend that, start the server again, and it goes on" >&2';

export function shellWord(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
