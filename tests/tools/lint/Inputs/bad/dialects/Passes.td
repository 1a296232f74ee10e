def NobodyRunsPass : Pass<"nobody-runs", "::mlir::ModuleOp"> {}
