// RUN: headrace-opt %s \
// RUN:   | FileCheck %s --check-prefixes=CHECK,ONE
// CHECK: func.func
// ONE-SAME: @f
func.func private @f()
