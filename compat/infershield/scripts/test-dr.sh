#!/usr/bin/env bash
# test-dr.sh: a test backup, then a rehearsal of the newest one
exec "${LIFEBOAT:-lifeboat}" compat infershield test-dr "$@"
