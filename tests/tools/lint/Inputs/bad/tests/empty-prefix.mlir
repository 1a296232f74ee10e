// RUN: headrace-opt %s | FileCheck %s --check-prefix=AFTER
// CHECK: func.func
func.func private @f()
