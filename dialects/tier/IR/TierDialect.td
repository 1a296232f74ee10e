// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef HEADRACE_TIER_DIALECT
#define HEADRACE_TIER_DIALECT

include "mlir/IR/OpBase.td"

def Tier_Dialect : Dialect {
  let name = "tier";
  let cppNamespace = "::headrace::tier";
  let summary = "where bytes live";
  let description = [{
    The `tier` dialect says what a machine's memory levels are, which bytes a
    program needs, and on which level and at which address each of them lives.
    A weight is a symbol bound to bytes of a checkpoint by file and range; it is
    read-only by definition, so nothing that moves it ever writes it back.
  }];
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
}

#endif // HEADRACE_TIER_DIALECT
