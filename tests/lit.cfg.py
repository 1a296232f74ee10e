# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# How the .mlir and .test files under tests/ are run. tests/README.md explains.
import os
import shutil
import subprocess

import lit.formats

config.name = "headrace"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["data", "fuzz", "Inputs", "programs"]
config.test_source_root = os.path.join(config.headrace_src_root, "tests")
config.test_exec_root = os.path.join(config.headrace_obj_root, "tests")

# Our tools come first, then FileCheck, not and split-file.
config.environment["PATH"] = os.pathsep.join(
    [config.headrace_tools_dir, config.llvm_tools_dir, os.environ.get("PATH", "")]
)
config.environment["FILECHECK_OPTS"] = "-enable-var-scope --dump-input-filter=all"
# What `headrace run` compiles goes into the build tree, not into a home folder.
config.environment["XDG_CACHE_HOME"] = os.path.join(config.test_exec_root, "cache")
config.environment["LC_ALL"] = "C.UTF-8"
for name in ("ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
    if name in os.environ:
        config.environment[name] = os.environ[name]

# A file under tests/ runs when all of its REQUIRES are among these features.
for sanitizer, feature in (
    ("address", "asan"),
    ("undefined", "ubsan"),
    ("thread", "tsan"),
):
    if "-fsanitize=" + sanitizer in config.cxx_flags:
        config.available_features.add(feature)
if config.ptxas:
    config.available_features.add("ptxas")
# Whether a process may have a small disk of its own to fill.
if subprocess.run(
    "unshare --map-root-user --mount mount -t tmpfs -o size=64k tmpfs /mnt",
    shell=True,
    stderr=subprocess.DEVNULL,
).returncode == 0:
    config.available_features.add("small-filesystem")
with open("/proc/cpuinfo") as cpuinfo:
    flags = next((l.split() for l in cpuinfo if l.startswith("flags")), [])
for feature, flag in (
    ("avx2", "avx2"),
    ("avx512", "avx512f"),
    ("avx512-bf16", "avx512_bf16"),
):
    if flag in flags:
        config.available_features.add(feature)

# A browser draws the pages that tools write; tests of them are skipped without.
chromium = shutil.which("chromium")
if chromium:
    config.available_features.add("chromium")
    config.substitutions.append(
        ("%chromium", chromium + " --headless --no-sandbox --disable-gpu --hide-scrollbars"
         " --disable-dev-shm-usage --disable-background-networking")
    )
config.substitutions.append(("%python", config.python))
config.substitutions.append(("%cc", config.c_compiler))
config.substitutions.append(("%ptxas", config.ptxas))
config.substitutions.append(("%src", config.headrace_src_root))
config.substitutions.append(("%build", config.headrace_obj_root))
config.substitutions.append(("%data", config.test_source_root + "/data"))

# `lit --param roundtrip=1` reruns every test and also asks headrace-opt to print,
# parse and compare what it read.
if lit_config.params.get("roundtrip"):
    config.substitutions.append((r"\bheadrace-opt\b", "headrace-opt --verify-roundtrip"))
