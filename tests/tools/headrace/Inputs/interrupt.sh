# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# interrupt.sh OUT COMMAND...: ends COMMAND once it has written to stdout, which
# goes to OUT; exits as it does. SIGTERM stands for Ctrl-C, which a shell keeps
# from its background jobs.
out=$1
shift
"$@" > "$out" &
for i in $(seq 600); do
  test -s "$out" && break
  sleep 0.1
done
kill -TERM $!
wait $!
