#!/bin/sh
# full-disk.sh OPTIONS COMMAND: runs COMMAND where $DISK is a file system of its
# own, mounted with OPTIONS, that only this process sees. Expects exit code 1 and
# nothing left on the disk.
options=$1 command=$2
DISK=$(mktemp -d) || exit 3
export DISK options command
unshare --map-root-user --mount sh -c '
  mount -t tmpfs -o "$options" tmpfs "$DISK" || exit 3
  sh -c "$command"
  code=$?
  if [ $code != 1 ]; then echo "exit code $code"; fi
  find "$DISK" -mindepth 1 | sed "s/^/left: /"
'
rmdir "$DISK"
