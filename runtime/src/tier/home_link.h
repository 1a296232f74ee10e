// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Home link: weights into the fast level, from wherever each of them is.
#ifndef HEADRACE_RUNTIME_SRC_TIER_HOME_LINK_H
#define HEADRACE_RUNTIME_SRC_TIER_HOME_LINK_H

#include "runtime/src/tier/link.h"

namespace headrace::runtime {

/// Gives each job to one of two links: those with a home to the one that copies
/// out of it, others to the one that reads the package.
class HomeLink final : public Link {
public:
  /// Both outlive this link.
  HomeLink(Link *copies, Link *package) : copies(copies), package(package) {}

  void Submit(TransferJob *job) override { Of(*job).Submit(job); }
  void Promote(TransferJob *job) override { Of(*job).Promote(job); }
  void Cancel(TransferJob *job) override { Of(*job).Cancel(job); }
  TransferJob::State StateOf(const TransferJob &job) override {
    return Of(job).StateOf(job);
  }
  Status Wait(TransferJob *job, const headrace_cancel_t *cancel,
              uint64_t deadline_ns) override {
    return Of(*job).Wait(job, cancel, deadline_ns);
  }
  Status ResultOf(const TransferJob &job) override {
    return Of(job).ResultOf(job);
  }
  /// Those of the copies, as is the name.
  LinkCounters Counters() override { return copies->Counters(); }
  const char *Name() const override { return copies->Name(); }
  const char *NameOf(const TransferJob &job) const override {
    return Of(job).Name();
  }

private:
  Link &Of(const TransferJob &job) const {
    return job.home ? *copies : *package;
  }

  Link *const copies;
  Link *const package;
};

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_TIER_HOME_LINK_H
