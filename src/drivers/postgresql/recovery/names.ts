// Where in a data directory lies what a recovery needs besides the data.

export const AUTO_CONF = 'postgresql.auto.conf';
export const SIGNAL = 'recovery.signal';
/** Goes when the recovery has ended. */
export const SPOOL = 'pg_wal/lifeboat';
/** In the spool: a script that gives the server a file of the log. */
export const FETCH = 'fetch';

/** After the name of a history: it stays when the server has got it. */
export const KEPT = '.kept';

// What the server's side and ours tell one another in the spool, as names of files.
/** There is no more than what lies there. */
export const ENDED = 'end';
/** Why there is no more. */
export const FAILED = 'failed';
/** Changes as long as somebody hands the log over. */
export const BEAT = 'beat';
/** After the name of a file that the server waits for. */
export const WANTED = '.wanted';
/** After the name of one that will not come. */
export const ABSENT = '.absent';
/** After the name of the segment that is put there next: it changes as long as somebody works on that. */
export const COMING = '.coming';
/** Changes as long as who fills the folder answers what is wanted besides. */
export const SERVING = 'serving';
/** After the name of a segment: with it the server's side begins to have the folder filled. */
export const FIRST = '.first';
