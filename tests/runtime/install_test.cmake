# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Installs the runtime to a new prefix, builds the example host against it with
# find_package, and runs it on the toy package.
file(REMOVE_RECURSE "${WORK}")
file(MAKE_DIRECTORY "${WORK}")
set(prefix "${WORK}/prefix")
execute_process(COMMAND "${CMAKE_COMMAND}" --install "${BUILD}"
  --prefix "${prefix}" --component runtime COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${CMAKE_COMMAND}" -S "${EXAMPLE}" -B "${WORK}/example"
  "-DCMAKE_PREFIX_PATH=${prefix}" "-DCMAKE_C_COMPILER=${C_COMPILER}"
  COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${CMAKE_COMMAND}" --build "${WORK}/example"
  COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${TOY}" "${WORK}/toy.headrace"
  COMMAND_ERROR_IS_FATAL ANY)

# What the page says to write is what was built.
file(READ "${EXAMPLE}/../runtime-api.md" page)
file(READ "${EXAMPLE}/CMakeLists.txt" lists)
string(REGEX MATCH "```cmake test\n([^`]*)```" block "${page}")
string(STRIP "${CMAKE_MATCH_1}" block)
string(REPLACE "\n" ";" block "${block}")
if(NOT block)
  message(FATAL_ERROR "docs/runtime-api.md has no cmake block")
endif()
foreach(line IN LISTS block)
  string(FIND "${lists}" "${line}\n" found)
  if(found EQUAL -1)
    message(FATAL_ERROR "docs/examples/CMakeLists.txt lacks: ${line}")
  endif()
endforeach()

# What the page shows of C++ compiles against the installed headers alone.
string(REGEX MATCH "```cpp test\n([^`]*)```" block "${page}")
if(NOT block)
  message(FATAL_ERROR "docs/runtime-api.md has no C++ block")
endif()
file(WRITE "${WORK}/page.cpp" "${CMAKE_MATCH_1}")
execute_process(COMMAND "${CXX_COMPILER}" -std=c++17 -Wall -Wextra -pedantic
  -Werror -fsyntax-only "-I${prefix}/include" "${WORK}/page.cpp"
  COMMAND_ERROR_IS_FATAL ANY)

set(host "${WORK}/example/host")
function(run result_var output_var)
  execute_process(COMMAND "${host}" ${ARGN} RESULT_VARIABLE result
    OUTPUT_VARIABLE output ERROR_VARIABLE error)
  set(${result_var} "${result}" PARENT_SCOPE)
  set(${output_var} "${output}${error}" PARENT_SCOPE)
endfunction()
run(result output "${WORK}/toy.headrace" 1 2 3)
if(NOT result EQUAL 0 OR NOT output MATCHES "^[0-9]+( [0-9]+)*\n$")
  message(FATAL_ERROR "host gave ${result}: ${output}")
endif()
run(result output "${WORK}/none.headrace" 1 2 3)
if(NOT result EQUAL 1 OR NOT output MATCHES "^error: [^\n]*none.headrace[^\n]*\n$")
  message(FATAL_ERROR "host gave ${result}: ${output}")
endif()
run(result output "${WORK}/toy.headrace" 1 64)
if(NOT result EQUAL 1 OR NOT output MATCHES "^error: [^\n]*token[^\n]*\n$")
  message(FATAL_ERROR "host gave ${result}: ${output}")
endif()
run(result output)
if(NOT result EQUAL 2)
  message(FATAL_ERROR "host gave ${result}: ${output}")
endif()

# The same through pkg-config, where there is one.
find_program(pkg_config pkg-config)
if(pkg_config)
  file(GLOB_RECURSE pc "${prefix}/*/headrace.pc")
  cmake_path(GET pc PARENT_PATH pc_dir)
  execute_process(COMMAND "${CMAKE_COMMAND}" -E env "PKG_CONFIG_PATH=${pc_dir}"
    "${pkg_config}" --cflags --libs headrace OUTPUT_VARIABLE flags
    COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(flags UNIX_COMMAND "${flags}")
  execute_process(COMMAND "${C_COMPILER}" -std=c11 "${EXAMPLE}/host.c" ${flags}
    -o "${WORK}/host-pc" COMMAND_ERROR_IS_FATAL ANY)
endif()
