// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Fuzz target: the package reader, from memory, up to a session.
#include <headrace/headrace.h>

#include "runtime/abi/package_format.h"
#include "runtime/src/digest.h"
#include "runtime/src/package.h"

#include <cstring>
#include <vector>

namespace {

using headrace::runtime::Digest;

/// Makes the header right for what follows it, so that mutations reach the
/// checks behind the digests.
void Seal(std::vector<uint8_t> *file) {
  headrace_package_header_t header;
  if (file->size() < sizeof(header))
    return;
  std::memcpy(&header, file->data(), sizeof(header));
  const uint64_t behind = file->size() - sizeof(header);
  header.file_bytes = file->size();
  if (header.manifest_bytes > behind)
    header.manifest_bytes = behind;
  header.manifest_xxh3 =
      Digest(file->data() + sizeof(header), header.manifest_bytes);
  header.header_xxh3 =
      Digest(&header, offsetof(headrace_package_header_t, header_xxh3));
  std::memcpy(file->data(), &header, sizeof(header));
}

/// Asks everything that `inspect` asks.
void Query(const headrace_package_t *package) {
  headrace_package_info_t info = {};
  info.struct_size = sizeof(info);
  headrace_status_free(headrace_package_info(package, &info));
  for (uint32_t i = 0; i < info.entry_count; ++i) {
    headrace_entry_info_t entry = {};
    entry.struct_size = sizeof(entry);
    headrace_status_free(headrace_package_entry(package, i, &entry));
    for (uint32_t j = 0; j < entry.launch_count; ++j) {
      headrace_launch_info_t launch = {};
      launch.struct_size = sizeof(launch);
      headrace_status_free(headrace_package_launch(package, i, j, &launch));
    }
  }
  for (uint32_t i = 0; i < info.buffer_count; ++i) {
    headrace_buffer_info_t buffer = {};
    buffer.struct_size = sizeof(buffer);
    headrace_status_free(headrace_package_buffer(package, i, &buffer));
  }
}

void Read(headrace_instance_t *instance, const uint8_t *data, size_t size) {
  headrace_package_options_t options = {};
  headrace_package_t *package;
  headrace_status_t status = headrace::runtime::OpenPackageFromMemory(
                                 instance, data, size, options, &package)
                                 .Release();
  headrace_status_free(status);
  if (!package)
    return;
  Query(package);
  headrace_status_free(headrace_package_verify(package, nullptr));

  // A session resolves every index; nothing is executed, since the code may be
  // anything.
  headrace_device_t *device = nullptr;
  headrace_cpu_device_options_t cpu = {};
  cpu.struct_size = sizeof(cpu);
  cpu.thread_count = 1;
  headrace_status_free(headrace_device_create_cpu(instance, &cpu, &device));
  headrace_session_options_t session_options = {};
  session_options.struct_size = sizeof(session_options);
  session_options.kv_pages = 1;
  headrace_session_t *session = nullptr;
  headrace_status_free(
      headrace_session_create(device, package, &session_options, &session));
  headrace_session_release(session);
  headrace_device_release(device);
  headrace_package_release(package);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  headrace_instance_t *instance = nullptr;
  headrace_status_free(headrace_instance_create(nullptr, &instance));
  Read(instance, data, size);
  std::vector<uint8_t> sealed(data, data + size);
  Seal(&sealed);
  Read(instance, sealed.data(), sealed.size());
  headrace_instance_release(instance);
  return 0;
}
