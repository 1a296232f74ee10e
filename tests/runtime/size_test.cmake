# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# The stripped library is under 1 MB, and needs nothing but the C and C++
# libraries: no LLVM, nothing to carry.
file(MAKE_DIRECTORY "${WORK}")
set(stripped "${WORK}/libheadrace.so")
execute_process(COMMAND "${STRIP}" -o "${stripped}" "${LIBRARY}"
  COMMAND_ERROR_IS_FATAL ANY)
file(SIZE "${stripped}" bytes)
message("stripped: ${bytes} bytes")
if(bytes GREATER 1000000)
  message(FATAL_ERROR "libheadrace.so has ${bytes} bytes, more than 1000000")
endif()
execute_process(COMMAND ldd "${stripped}" OUTPUT_VARIABLE needs
  COMMAND_ERROR_IS_FATAL ANY)
message("${needs}")
string(REGEX REPLACE "\n$" "" needs "${needs}")
string(REPLACE "\n" ";" needs "${needs}")
foreach(line IN LISTS needs)
  if(NOT line MATCHES
     "linux-vdso|ld-linux|libc\\.so|libm\\.so|libstdc\\+\\+\\.so|libgcc_s\\.so")
    message(FATAL_ERROR "libheadrace.so needs ${line}")
  endif()
endforeach()
